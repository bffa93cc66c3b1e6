"""Exactly once under fire: many clients, a server that dies at every step, a store that fails and lies, others who write too.

Every row has an id of its own. What was acknowledged is there, nothing is there twice, what was certainly refused is not there.
Rows that do not fit are counted among the dead letters, and what is to be committed at once, over however many tables, is there
as a whole or not at all.
"""

import collections
import os
import random
import re
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
import requests

import spark_session
from chaos_clients import SEED, Client, Other, Reader
from chaos_requests import NS, REJECTED, SECONDS, TABLES, UNROUTED, row, whole_name
from conftest import BINARY, Floeberg
from processes import Process, answers
from relay import Unreliable
from stores import Directory

CLIENTS = 12
# Where a build with failpoints dies, and where it now and then fails; any other build is just killed.
DEATHS = re.findall(r'"([a-z]+\.[a-z]+)"', (Path(__file__).parents[2] / "src/failpoint.rs").read_text().split("STEPS:")[1])
FAILURES = ["lake.create", "lake.created", "append.put", "swap.begin", "swap.applied", "swap.committed", "log.begin", "log.written", "log.synced"]
# What an engine counts of a table.
COUNTS = {False: "count(*), count(DISTINCT id), sum(id)", True: "count(*), count(DISTINCT raw), sum(row_index)"}
CODES = {"malformed_json", "wrong_type", "int_overflow", "unknown_field", "no_route", "unknown_route"}


class Mortal(Floeberg):
    """A floeberg that is told where it is to die and to fail."""

    failpoints = ""

    def start(self):
        command = [BINARY, "serve", "--listen", f"127.0.0.1:{self.port}"]
        env = {**os.environ, "FAILPOINTS": self.failpoints}
        self.process = Process(command, self.folder / "log", cwd=self.folder, env=env)

    def is_alive(self):
        return self.process.child.poll() is None

    def wait_while_it_starts(self):
        """It may die of what it finds in its log."""
        until = time.monotonic() + 60
        while self.is_alive() and not answers(f"{self.url}/health/ready"):
            assert time.monotonic() < until, "it does not come up"
            time.sleep(0.05)


def burn(server, network, dice):
    """For some time the server lives for some seconds and dies. How often of what."""
    deaths, until = collections.Counter(), time.monotonic() + SECONDS
    while time.monotonic() < until:
        if network:
            foul(network, dice)
        step = dice.choice(DEATHS) if dice.random() < 0.75 else None
        told = [f"{one}=2%return" for one in dice.sample(FAILURES, 2) if one != step]
        told += [f"{step}={dice.choice([1, 3, 10, 40])}*off->1*return(kill)"] if step else []
        server.failpoints = ";".join(told)
        server.start()
        server.wait_while_it_starts()
        enough = time.monotonic() + dice.uniform(1, 4)
        while server.is_alive() and time.monotonic() < enough:
            time.sleep(0.02)
        deaths["kill -9" if server.is_alive() else step] += 1
        server.kill()
    return deaths


def foul(network, dice):
    network.calm()
    network.chaos(dice.random(), dice.choice([0, 0.03, 0.1]))
    if dice.random() < 0.3:
        network.fail(dice.choice(["silent", "lost", "busy"]), dice.choice([1, 8]), lambda request: request.method == "PUT")


def made_tables(server):
    """Three tables: partitioned; with few snapshots; that holds back what is acknowledged."""
    catalog = server.pyiceberg()
    catalog.create_namespace(NS)
    types = pa.schema([("id", pa.int64()), ("part", pa.int64()), ("n", pa.int32()), ("text", pa.string())])
    properties = [{}, {"floeberg.maintenance.snapshots.max-count": "20"}, {"floeberg.ingest.max-delay-ms": "3000", "floeberg.ingest.min-commit-interval-ms": "200"}]
    for name, own in zip(TABLES, properties):
        few = {"write.metadata.delete-after-commit.enabled": "true", "write.metadata.previous-versions-max": "5"}
        table = catalog.create_table(f"{NS}.{name}", types, properties={**few, **own})
        if name == "t0":
            with table.update_spec() as update:
                update.add_identity("part")


def union(all_of_them, name):
    return set().union(*(one[name] for one in all_of_them))


def read(table):
    """The ids of its rows, and what an engine counts of them."""
    if table.name()[-1].endswith(REJECTED):
        letters = table.scan(selected_fields=("request_id", "row_index", "code", "raw")).to_arrow().to_pylist()
        ids = [int(re.search(r'"id": ?(\d+)', letter["raw"])[1]) for letter in letters]
        # The ids of a request go up by one from row to row.
        firsts = {(letter["request_id"], id - letter["row_index"]) for letter, id in zip(letters, ids)}
        assert len(firsts) == len({letter["request_id"] for letter in letters}) and {letter["code"] for letter in letters} <= CODES
        return ids, (len(ids), len({letter["raw"] for letter in letters}), sum(letter["row_index"] for letter in letters) if ids else None)
    rows = table.scan(selected_fields=("id", "part", "n", "text")).to_arrow().to_pylist()
    ids = [found["id"] for found in rows]
    assert all(found == row(found["id"]) for found in rows)
    return ids, (len(ids), len(set(ids)), sum(ids) if ids else None)


def check_table(server, store, name, writers):
    table = server.pyiceberg().load_table(whole_name(name))
    ids, figures = read(table)
    present, acknowledged = set(ids), union([one.acknowledged for one in writers], name)
    refused, sent = union([one.refused for one in writers], name), union([one.open for one in writers], name)
    twice = [id for id, times in collections.Counter(ids).items() if times > 1]
    assert not twice, f"{name}: {len(twice)} rows are there twice: {twice[:10]}"
    missing = sorted(acknowledged - present)
    assert not missing, f"{name}: {len(missing)} acknowledged rows are missing: {missing[:10]}"
    assert not refused & present, f"{name}: rows were refused and are there: {sorted(refused & present)[:10]}"
    assert present <= sent, f"{name}: nobody sent {sorted(present - sent)[:10]}"
    # One that was made, and whose first rows never came, has none.
    current = table.current_snapshot()
    assert int(current.summary["total-records"] if current else 0) == len(ids)
    if len(table.snapshots()) == table.metadata.last_sequence_number:
        assert sum(int(one.summary["added-records"]) for one in table.snapshots()) == len(ids)
    there = set(store.keys("fire"))
    lists = {store.key_of(one.manifest_list) for one in table.snapshots()}
    assert lists <= there, f"{name}: a snapshot's list is gone: {sorted(lists - there)[:3]}"
    return present, acknowledged, figures


def check_transactions(clients, present):
    """Of what is committed at once everything is there, or nothing. How many there were."""
    transactions = [tables for client in clients for tables in client.transactions]
    for tables in transactions:
        there = {table: len(present[table] & set(ids)) for table, ids in tables.items()}
        assert sum(there.values()) in (0, sum(map(len, tables.values()))), f"{there} of {tables}"
    return len(transactions)


def check_producers(clients):
    for client in clients:
        if client.kind == "producer" and client.sequence >= 0:
            told = {"epoch": client.epoch, "sequence": client.sequence, "offset_token": client.token}
            assert client.standing() == told, f"producer {client.number}"


def settled(server):
    """The tables, after what waits for them was committed."""
    names = [name for _, name in server.pyiceberg().list_tables(NS) if not name.startswith("gone")] + [UNROUTED]
    for name in names:
        url = f"{server.url}/ingest/v1/{whole_name(name).replace('.', '/')}"
        assert requests.post(f"{url}/flush", timeout=60).status_code == 200
        status = requests.get(f"{url}/status", timeout=20).json()
        assert status["buffered_rows"] == 0 and status["last_error"] is None, status
    return names


def check(server, store, clients, others, spark):
    names, writers, present, acknowledged = settled(server), [*clients, *others], collections.defaultdict(set), collections.Counter()
    assert {*TABLES, *(table + REJECTED for table in TABLES)} < set(names), "some were made by rows"
    assert all(set(writer.acknowledged) <= set(names) for writer in writers)
    db = server.duckdb()
    engine = spark and spark_session.Catalog(spark, f"fire{server.port}", server.client_settings())
    for name in names:
        is_of_letters = name.endswith(REJECTED)
        present[name], known, figures = check_table(server, store, name, writers)
        query = f"SELECT {COUNTS[is_of_letters]} FROM {{}}{whole_name(name)}"
        assert db.execute(query.format("ice.")).fetchone() == figures, "DuckDB reads the same"
        assert not engine or engine.sql(query.format("")) == [figures], "and Spark"
        acknowledged["dead letters" if is_of_letters else "rows"] += len(known)
    transactions = check_transactions(clients, present)
    assert transactions > SECONDS and acknowledged["dead letters"] > SECONDS, "these were under fire, too"
    print(f"{dict(acknowledged)} acknowledged in {len(names)} tables, {transactions} transactions over some")
    check_producers(clients)
    assert "floeberg_ingest_rows_lost_total{" not in requests.get(f"{server.url}/metrics", timeout=20).text
    return acknowledged["rows"]


def said(server):
    """What no server may say."""
    log = (server.folder / "log").read_text(errors="replace")
    return [line for line in log.splitlines() if "panicked" in line or "acknowledged are lost" in line or "is damaged" in line]


@pytest.mark.parametrize("kind", ["local", "seaweedfs"])
def test_what_is_acknowledged_is_there_once(request, tmp_path, kind):
    network, store = None, Directory(tmp_path / "store")
    config, bucket = store.config("fire"), None
    if kind == "seaweedfs":
        store = bucket = request.getfixturevalue("seaweedfs")
        network = Unreliable(store.endpoint.removeprefix("http://"))
        config = store.config("fire", endpoint=network.endpoint)
    server = Mortal(tmp_path / "lake", config=config, store=bucket)
    server.wait_while_it_starts()
    made_tables(server)
    server.kill()
    over = threading.Event()
    clients = [Client(server, over, number) for number in range(CLIENTS)]
    others = [Other(server, over, ["append"]), Other(server, over, ["change", "change", "drop"])]
    # Over a bucket it takes minutes to read so many small files.
    readers = [] if network else [Reader(server, over, clients)]
    threads = [*clients, *others, *readers]
    for thread in threads:
        thread.start()
    deaths = burn(server, network, random.Random(SEED))
    if network:
        network.calm()
    server.failpoints = ""
    server.start()
    server.wait_while_it_starts()
    over.set()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive(), thread
    faults = [thread.fault for thread in threads if thread.fault]
    figures = sum((thread.figures for thread in threads), collections.Counter())
    print(f"\n{kind}, seed {SEED}: {dict(figures)}, {sum(deaths.values())} deaths: {dict(deaths)}")
    assert not faults, faults
    assert network or figures["looks"], "somebody read meanwhile"
    spark = None if network else request.getfixturevalue("spark")
    acknowledged = check(server, store, clients, others, spark)
    assert acknowledged > 20 * SECONDS and sum(deaths.values()) > SECONDS / 10, "there was load, and fire"
    assert not said(server), said(server)[:5]
    assert server.stop() == 0
    assert not list((tmp_path / "lake/floeberg-data/wal").glob("*.log")), "all of the log is settled"
    if network:
        network.down()
