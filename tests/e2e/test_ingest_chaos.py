"""Exactly once under fire: many clients, a server that dies at every step, a store that fails and lies, others who write too.

Every row has an id of its own. What was acknowledged is there, nothing is there twice, what was certainly refused is not there.
"""

import collections
import gzip
import io
import json
import os
import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import requests
from pyiceberg.types import LongType

import spark_session
from conftest import BINARY, LONG, Floeberg
from processes import Process, answers
from relay import Unreliable
from stores import Directory

SECONDS = 1_800 if LONG else 24
SEED = random.randrange(1 << 30)
NS, TABLES = "fire", ["t0", "t1", "t2"]
KINDS = ["commit", "wal", "producer", "none"]
CLIENTS = 12
# Where a build with failpoints dies, and where it now and then fails; any other build is just killed.
DEATHS = re.findall(r'"([a-z]+\.[a-z]+)"', (Path(__file__).parents[2] / "src/failpoint.rs").read_text().split("STEPS:")[1])
FAILURES = ["lake.create", "lake.created", "append.put", "swap.begin", "swap.applied", "swap.committed", "log.begin", "log.written", "log.synced"]
BAD = [("n", "seven"), ("n", 1 << 70), ("text", {"a": 1}), ("id", 1.5)]


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


@dataclass
class Request:
    """Rows as they are sent, however often."""

    table: str
    ids: list
    headers: dict
    body: bytes
    target: str


class Client(threading.Thread):
    """Pushes rows with ids of its own, each request until its outcome is certain."""

    def __init__(self, server, over, number):
        super().__init__(daemon=True)
        self.server, self.over, self.number = server, over, number
        self.kind, self.table = KINDS[number % len(KINDS)], TABLES[number // len(KINDS) % len(TABLES)]
        self.dice = random.Random(f"{SEED} {number}")
        self.next_id, self.turns, self.epoch, self.sequence, self.token = number * 10**9, 0, 0, -1, None
        self.history, self.fault, self.patience = collections.deque(maxlen=30), None, None
        self.figures = collections.Counter()
        # Ids by table: acknowledged for good, never to be there, and those of which nothing is promised.
        self.acknowledged, self.refused, self.open = (collections.defaultdict(set) for _ in range(3))

    def run(self):
        try:
            while not self.over.is_set():
                self.turn()
        except Exception as fault:
            self.fault = fault

    def turn(self):
        self.turns += 1
        draw = self.dice.random()
        if draw < 0.06:
            self.send_what_is_refused(self.request(bad=True), 422)
        elif draw < 0.09 and self.history and self.kind != "none":
            self.send_the_wrong_way()
        elif draw < 0.25 and self.history:
            self.send_again(self.dice.choice(self.history))
        else:
            self.send_anew()
        time.sleep(self.dice.uniform(0, 0.1))

    def request(self, bad=False):
        ids = list(range(self.next_id, self.next_id + self.dice.choice([1, 1, 3, 40])))
        self.next_id += len(ids)
        rows, table, draw = [row(id) for id in ids], self.table, self.dice.random()
        if not bad and self.kind in ("commit", "wal") and self.dice.random() < 0.05:
            # Everybody wants to be the one who makes it.
            table = f"made{int(time.time() * 3) // SECONDS}"
        if bad:
            column, value = self.dice.choice(BAD)
            self.dice.choice(rows)[column] = value
        elif draw < 0.1:
            rows[-1][f"own{self.dice.randrange(8)}"] = "more"
        headers, body = {"content-type": "application/x-ndjson"}, "".join(json.dumps(row) + "\n" for row in rows).encode()
        if not bad and 0.1 < draw < 0.3:
            headers, body = {"content-type": "application/vnd.apache.arrow.stream"}, stream_of(rows)
        if self.dice.random() < 0.2:
            headers, body = {**headers, "content-encoding": "gzip"}, gzip.compress(body)
        target = f"{table}?timeout={self.dice.choice(['50ms', '60s', '60s'])}" + ("" if table in TABLES[1:] else "&partition_by=part")
        return Request(table, ids, {**headers, **self.name(ids)}, body, target)

    def name(self, ids):
        """By what a request counts once."""
        if self.kind == "producer":
            place = {"X-Producer-Id": f"p{self.number}", "X-Producer-Epoch": str(self.epoch), "X-Producer-Seq": str(self.sequence + 1)}
            return {**place, "X-Offset-Token": f"up to {ids[-1]}"}
        if self.kind == "none" and self.dice.random() < 0.5:
            return {}
        return {"Idempotency-Key": f"{SEED}-{self.number}-{self.turns}"}

    def send_anew(self):
        if self.kind == "producer" and self.sequence >= 0 and self.dice.random() < 0.03:
            self.epoch, self.sequence = self.epoch + 1, -1
        request = self.request()
        self.open[request.table].update(request.ids)
        if self.deliver(request):
            if request.headers.keys() & {"Idempotency-Key", "X-Producer-Id"}:
                self.history.append(request)
            if self.kind == "producer":
                self.sequence, self.token = self.sequence + 1, request.headers["X-Offset-Token"]
            if self.kind != "none":
                self.acknowledged[request.table].update(request.ids)

    def deliver(self, request):
        """Whether it was taken; if not, it certainly was not."""
        doubtful, once = False, self.kind == "none" and "Idempotency-Key" not in request.headers
        while True:
            outcomes = self.send(request, 2 if not once and self.dice.random() < 0.1 else 1)
            if "taken" in outcomes or (doubtful and self.is_known(request)):
                return True
            doubtful |= "open" in outcomes
            if once or (not doubtful and self.dice.random() < 0.3):
                if not doubtful:
                    self.figures["given up"] += 1
                    self.refused[request.table].update(request.ids)
                return False
            self.figures["retries"] += 1
            self.pause()

    def pause(self):
        time.sleep(self.dice.uniform(0, 0.3))
        if self.over.is_set():
            self.patience = self.patience or time.monotonic() + 60
            assert time.monotonic() < self.patience, "in calm weather there are no answers"

    def is_known(self, request):
        """What one who got no answer may ask, rather than send again."""
        if self.dice.random() < 0.5:
            return False
        if self.kind == "producer":
            found = self.standing()
            return found is not None and (found["epoch"], found["sequence"]) >= (self.epoch, self.sequence + 1)
        found = self.ask(key=request.headers["Idempotency-Key"])
        return found is not None and "rows" in found

    def standing(self):
        return self.ask(producer=f"p{self.number}", table=f"{NS}.{self.table}")

    def ask(self, **what):
        try:
            answer = requests.get(f"{self.server.url}/ingest/v1", params=what, timeout=20)
        except requests.RequestException:
            return None
        return answer.json() if answer.status_code == 200 else None

    def send(self, request, times):
        """What became of it, each time that it was sent at once: `taken`, `not` or `open`."""
        with ThreadPoolExecutor(times) as senders:
            return {self.outcome(request, answer) for answer in senders.map(self.post, [request] * times)}

    def outcome(self, request, answer):
        if answer is None:
            return "open"
        told, status = answer.json(), answer.status_code
        if status in (200, 202):
            counts = told["rows"]
            assert counts["received"] == counts["written"] + counts["duplicate"] == len(request.ids), told
            return "taken"
        if status in (500, 504):
            assert told["state"] == {500: "unknown", 504: "pending"}[status], told
            return "open"
        assert status in (429, 503) or told["code"] == "schema_changed", told
        self.figures[f"answers {status}"] += 1
        return "not"

    def post(self, request):
        self.figures["requests"] += 1
        # Who counts may say anew each time how long it waits.
        ack = self.dice.choice(["commit", "wal"]) if self.kind == "producer" else self.kind
        body = slowly(request.body) if self.dice.random() < 0.05 else request.body
        url, patience = f"{self.server.url}/ingest/v1/{NS}/{request.target}&ack={ack}", self.dice.choice([0.2, 20, 20, 20, 20])
        try:
            return requests.post(url, data=body, headers=request.headers, timeout=patience)
        except requests.RequestException:
            return None

    def send_again(self, request):
        """After a certain answer: the same is told, and nothing more is written."""
        answer = self.post(request)
        self.figures["sent again"] += 1
        if answer is not None and answer.status_code in (200, 202) and self.kind != "none":
            assert answer.json()["duplicate"], answer.text

    def send_the_wrong_way(self):
        request = self.request()
        if self.kind != "producer":
            last = self.history[-1]
            request.table, request.target = last.table, last.target
            request.headers["Idempotency-Key"] = last.headers["Idempotency-Key"]
            self.send_what_is_refused(request, 422, "key_reused")
        elif self.sequence >= 0 and self.dice.random() < 0.5:
            request.headers["X-Producer-Seq"] = str(10**9)
            self.send_what_is_refused(request, 409, "producer_gap")
        elif self.sequence >= 0 and self.epoch > 0:
            request.headers["X-Producer-Epoch"] = str(self.epoch - 1)
            self.send_what_is_refused(request, 409, "producer_fenced")

    def send_what_is_refused(self, request, status, code=None):
        """Whatever is answered, none of it may ever be there."""
        self.refused[request.table].update(request.ids)
        answer = self.post(request)
        if answer is not None and answer.status_code < 500 and answer.status_code != 429:
            said = answer.json()["code"]
            assert said == "schema_changed" or (answer.status_code == status and code in (None, said)), answer.text


def row(id):
    return {"id": id, "part": id % 3, "n": id % 1_000, "text": f"r{id}"}


def stream_of(rows):
    types = pa.schema([("id", pa.int64()), ("part", pa.int32()), ("n", pa.int32()), ("text", pa.string())])
    out = io.BytesIO()
    with pa.ipc.new_stream(out, types) as stream:
        stream.write_table(pa.Table.from_pylist(rows, types))
    return out.getvalue()


def slowly(body):
    yield body[:20]
    time.sleep(0.3)
    yield body[20:]


class Other(threading.Thread):
    """Beside it: a PyIceberg that appends; and one that changes columns, and makes and drops tables."""

    def __init__(self, server, over, works):
        super().__init__(daemon=True)
        self.server, self.over, self.works, self.dice = server, over, works, random.Random(SEED)
        self.next_id, self.number, self.fault, self.figures = 10**12, 0, None, collections.Counter()
        self.acknowledged, self.open, self.refused = (collections.defaultdict(set) for _ in range(3))

    def run(self):
        while not self.over.is_set():
            self.server.wait_while_it_starts()
            self.work()
            time.sleep(self.dice.uniform(0, 0.3))
        # In calm weather it succeeds, if not at once: another may have been faster.
        self.fault = self.work() and self.work() and self.work()

    def work(self):
        work = self.dice.choice(self.works)
        try:
            getattr(self, work)(self.server.pyiceberg())
            self.figures[work] += 1
        except Exception as fault:
            self.figures[f"{work} failed"] += 1
            return fault

    def append(self, catalog):
        name = self.dice.choice(TABLES)
        table = catalog.load_table(f"{NS}.{name}")
        ids = list(range(self.next_id, self.next_id + 5))
        self.next_id += len(ids)
        columns = table.schema().select("id", "part", "n", "text").as_arrow()
        self.open[name].update(ids)
        table.append(pa.Table.from_pylist([row(id) for id in ids], columns))
        self.acknowledged[name].update(ids)

    def change(self, catalog):
        """Widens each table's `n` once; after that columns are added, renamed and dropped that no client sends."""
        self.number += 1
        table = catalog.load_table(f"{NS}.{TABLES[self.number % 3]}")
        own = [field.name for field in table.schema().fields if field.name.startswith("other")]
        with table.update_schema() as update:
            if table.schema().find_type("n") != LongType():
                update.update_column("n", LongType())
            elif len(own) < 3:
                update.add_column(f"other{self.number}", LongType())
            elif self.dice.random() < 0.5:
                update.rename_column(own[0], f"other{self.number}")
            else:
                update.delete_column(own[0])

    def drop(self, catalog):
        self.number += 1
        url = f"{self.server.url}/ingest/v1/{NS}/gone{self.number}"
        requests.post(url, json=[row(id) for id in range(50)], timeout=20).raise_for_status()
        catalog.purge_table(f"{NS}.gone{self.number}")


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


def check_table(server, store, name, writers):
    table = server.pyiceberg().load_table(f"{NS}.{name}")
    rows = table.scan(selected_fields=("id", "part", "n", "text")).to_arrow().to_pylist()
    ids = [found["id"] for found in rows]
    present, acknowledged = set(ids), union([one.acknowledged for one in writers], name)
    refused, sent = union([one.refused for one in writers], name), union([one.open for one in writers], name)
    twice = [id for id, times in collections.Counter(ids).items() if times > 1]
    assert not twice, f"{name}: {len(twice)} rows are there twice: {twice[:10]}"
    missing = sorted(acknowledged - present)
    assert not missing, f"{name}: {len(missing)} acknowledged rows are missing: {missing[:10]}"
    assert not refused & present, f"{name}: rows were refused and are there: {sorted(refused & present)[:10]}"
    assert present <= sent, f"{name}: nobody sent {sorted(present - sent)[:10]}"
    assert all(found == row(found["id"]) for found in rows)
    summary = table.current_snapshot().summary
    assert int(summary["total-records"]) == len(rows)
    if len(table.snapshots()) == table.metadata.last_sequence_number:
        assert sum(int(one.summary["added-records"]) for one in table.snapshots()) == len(rows)
    there = set(store.keys("fire"))
    lists = {store.key_of(one.manifest_list) for one in table.snapshots()}
    assert lists <= there, f"{name}: a snapshot's list is gone: {sorted(lists - there)[:3]}"
    return acknowledged, (len(rows), len(present), sum(ids))


def check_producers(clients):
    for client in clients:
        if client.kind == "producer" and client.sequence >= 0:
            told = {"epoch": client.epoch, "sequence": client.sequence, "offset_token": client.token}
            assert client.standing() == told, f"producer {client.number}"


def settled(server):
    """The tables, after what waits for them was committed."""
    names = [name for _, name in server.pyiceberg().list_tables(NS) if not name.startswith("gone")]
    for name in names:
        url = f"{server.url}/ingest/v1/{NS}/{name}"
        assert requests.post(f"{url}/flush", timeout=60).status_code == 200
        status = requests.get(f"{url}/status", timeout=20).json()
        assert status["buffered_rows"] == 0 and status["last_error"] is None, status
    return names


def check(server, store, clients, others, spark):
    names, acknowledged = settled(server), 0
    assert set(TABLES) < set(names), "some were made by rows"
    db = server.duckdb()
    engine = spark and spark_session.Catalog(spark, f"fire{server.port}", server.client_settings())
    for name in names:
        known, figures = check_table(server, store, name, [*clients, *others])
        query = f"SELECT count(*), count(DISTINCT id), sum(id) FROM {{}}{NS}.{name}"
        assert db.execute(query.format("ice.")).fetchone() == figures, "DuckDB reads the same"
        assert not engine or engine.sql(query.format("")) == [figures], "and Spark"
        acknowledged += len(known)
    check_producers(clients)
    assert "floeberg_ingest_rows_lost_total{" not in requests.get(f"{server.url}/metrics", timeout=20).text
    return acknowledged


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
    for thread in [*clients, *others]:
        thread.start()
    deaths = burn(server, network, random.Random(SEED))
    if network:
        network.calm()
    server.failpoints = ""
    server.start()
    server.wait_while_it_starts()
    over.set()
    for thread in [*clients, *others]:
        thread.join(100)
        assert not thread.is_alive(), thread
    faults = [thread.fault for thread in [*clients, *others] if thread.fault]
    figures = sum((thread.figures for thread in [*clients, *others]), collections.Counter())
    print(f"\n{kind}, seed {SEED}: {dict(figures)}, {sum(deaths.values())} deaths: {dict(deaths)}")
    assert not faults, faults
    # Over a bucket it takes minutes to read so many small files.
    spark = None if network else request.getfixturevalue("spark")
    acknowledged = check(server, store, clients, others, spark)
    print(f"{acknowledged} acknowledged rows")
    assert acknowledged > 20 * SECONDS and sum(deaths.values()) > SECONDS / 10, "there was load, and fire"
    assert not said(server), said(server)[:5]
    assert server.stop() == 0
    assert not list((tmp_path / "lake/floeberg-data/wal").glob("*.log")), "all of the log is settled"
    if network:
        network.down()
