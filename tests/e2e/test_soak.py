"""Ingest for long: fifty tables, bodies of all sizes, every way of acknowledging. Nothing is lost, memory stays what it was, rows come into sight in time.

The long form runs for 20 minutes; the short one only shows that it runs (E2E_SOAK_SECONDS says otherwise).
"""

import gzip
import json
import os
import random
import re
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests

from conftest import LONG, Floeberg

SECONDS = int(os.environ.get("E2E_SOAK_SECONDS", "1200" if LONG else "8"))
SEED = random.randrange(1 << 30)
TABLES, CLIENTS = 50, 6
MEMORY_MB = 256
# Within what time rows are to be seen that are acknowledged before they are committed.
DELAY_MS = 3_000
SIZES = [1, 1, 1, 10, 10, 100, 1_000, 20_000]
ACKS = ["commit", "wal", "none"]
CONFIG = f'[ingest]\nmemory = "{MEMORY_MB}MiB"\n'


class Sent:
    """What was acknowledged, by table."""

    def __init__(self):
        self.lock = threading.Lock()
        self.rows = [0] * TABLES
        self.next_id, self.refused = 0, 0

    def ids(self, count):
        with self.lock:
            first, self.next_id = self.next_id, self.next_id + count
        return range(first, first + count)


def push(server, sent, dice, http):
    table, ack, count = dice.randrange(TABLES), dice.choice(ACKS), dice.choice(SIZES)
    lines = [json.dumps({"id": row, "text": f"row {row}" * dice.randrange(1, 4), "n": row / 7}) for row in sent.ids(count)]
    body, headers = "\n".join(lines).encode(), {"content-type": "application/x-ndjson"}
    if dice.random() < 0.3:
        body, headers = gzip.compress(body, 1), {**headers, "content-encoding": "gzip"}
    while True:
        answer = http.post(f"{server.url}/ingest/v1/soak/t{table}", params={"ack": ack}, data=body, headers=headers, timeout=120)
        if answer.status_code not in (429, 503):
            break
        with sent.lock:
            sent.refused += 1
        time.sleep(min(int(answer.headers["retry-after"]), 2))
    assert answer.status_code == (200 if ack == "commit" else 202), answer.text
    with sent.lock:
        sent.rows[table] += count


def client(server, sent, number, until):
    dice, http = random.Random(SEED + number), requests.Session()
    while time.monotonic() < until:
        push(server, sent, dice, http)


def resident_mb(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1e3 for line in status if line.startswith("VmRSS"))


def watch(server, until):
    """Memory and the age of the oldest row that is not committed, once a second."""
    memory, ages = [], []
    while time.monotonic() < until:
        time.sleep(1)
        memory.append(resident_mb(server.pid))
        text = requests.get(f"{server.url}/metrics", timeout=60).text
        of_tables = re.findall(r'^floeberg_ingest_freshness_seconds\{table="soak\.t\d+"\} (\S+)$', text, re.M)
        ages.append(max(map(float, of_tables), default=0))
    return memory, ages


def test_ingest_goes_on_for_long(tmp_path):
    server, sent = Floeberg(tmp_path / "lake", CONFIG), Sent()
    catalog = server.pyiceberg()
    requests.post(f"{server.url}/v1/namespaces", json={"namespace": ["soak"]}, timeout=30).raise_for_status()
    kinds = {"id": "long", "text": "string", "n": "double"}
    fields = [{"id": at, "name": name, "type": kind, "required": False} for at, (name, kind) in enumerate(kinds.items(), 1)]
    # A table's history, which memory holds, has its whole length in the first quarter.
    history = {"floeberg.created-by": "ingest", "floeberg.maintenance.snapshots.max-count": "50"}
    properties = {"floeberg.ingest.max-delay-ms": str(DELAY_MS), **history}
    for table in range(TABLES):
        body = {"name": f"t{table}", "schema": {"type": "struct", "fields": fields}, "properties": properties}
        requests.post(f"{server.url}/v1/namespaces/soak/tables", json=body, timeout=30).raise_for_status()
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        watched = pool.submit(watch, server, until)
        for work in [pool.submit(client, server, sent, number, until) for number in range(CLIENTS)]:
            work.result()
        memory, ages = watched.result()
    for table in range(TABLES):
        requests.post(f"{server.url}/ingest/v1/soak/t{table}/flush", timeout=120).raise_for_status()
    quarter = len(memory) // 4
    early, late = max(memory[quarter : 2 * quarter], default=0), max(memory[3 * quarter :], default=0)
    print(
        f"seed {SEED}: {sum(sent.rows)} rows in {SECONDS} s, {sent.refused} requests told to wait; memory {early:.0f} MB, "
        f"then {late:.0f} MB; oldest row not in sight {statistics.median(ages):.1f} s, at most {max(ages):.1f} s"
    )
    duck = server.duckdb()
    for table in range(TABLES):
        there = duck.execute(f"SELECT count(*), count(DISTINCT id) FROM ice.soak.t{table}").fetchone()
        assert there == (sent.rows[table], sent.rows[table]), f"t{table}, seed {SEED}"
    if LONG:
        assert late < early * 1.25 + 32, memory
        # A busy machine may be late now and then.
        assert statistics.median(ages) * 1_000 < DELAY_MS * 1.5, ages
    assert len(catalog.list_tables("soak")) == TABLES and "panicked" not in (server.folder / "log").read_text()
    assert server.stop() == 0, "a stop is clean"
