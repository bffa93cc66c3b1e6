"""`kill -9` at random moments under load: what was acknowledged is there once, and every table is whole."""

import random
import threading
import time
from pathlib import Path

import requests

from conftest import LONG, Floeberg

ROUNDS = 100 if LONG else 15
WRITERS = 6


class Writer(threading.Thread):
    """Pushes rows with ids of its own until the server is gone; remembers which were acknowledged."""

    def __init__(self, server, number, rounds):
        super().__init__(daemon=True)
        self.server, self.number, self.first = server, number, rounds * 1_000_000 + number * 100_000
        self.acknowledged, self.sent = set(), set()

    def run(self):
        next_id, session = self.first, requests.Session()
        generator = random.Random(self.first)
        while True:
            ids = list(range(next_id, next_id + generator.choice([1, 1, 5, 200])))
            next_id += len(ids)
            self.sent.update(ids)
            rows = "".join(f'{{"id":{i},"part":{i % 3}}}\n' for i in ids)
            table = f"t{self.number % 3}"
            try:
                answer = session.post(
                    f"{self.server.url}/ingest/v1/kill/{table}?partition_by=part", data=rows,
                    headers={"content-type": "application/x-ndjson"}, timeout=20,
                )
            except requests.RequestException:
                return
            if answer.status_code == 200:
                self.acknowledged.update(ids)
            else:
                assert answer.status_code >= 500, answer.text


class Transactions(threading.Thread):
    """Sets one property on three tables at once, over and over."""

    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.server, self.number, self.acknowledged = server, number, -1

    def run(self):
        session, turn = requests.Session(), 0
        while True:
            value = f"{self.number:06}-{turn:06}"
            changes = [
                {
                    "identifier": {"namespace": ["kill"], "name": f"p{table}"},
                    "requirements": [],
                    "updates": [{"action": "set-properties", "updates": {"turn": value}}],
                }
                for table in range(3)
            ]
            try:
                answer = session.post(f"{self.server.url}/v1/transactions/commit", json={"table-changes": changes}, timeout=20)
            except requests.RequestException:
                return
            if answer.status_code == 204:
                self.acknowledged = value
            turn += 1


def check_tables(server, sent, acknowledged):
    catalog = server.pyiceberg()
    found = []
    for name in ["t0", "t1", "t2"]:
        if not catalog.table_exists(f"kill.{name}"):
            continue
        table = catalog.load_table(f"kill.{name}")
        for path in table.inspect.all_files()["file_path"].to_pylist():
            assert Path(path.removeprefix("file://")).exists(), f"{path} is named by a snapshot and missing"
        found += table.scan().to_arrow()["id"].to_pylist()
    assert len(found) == len(set(found)), "no row is there twice"
    missing = acknowledged - set(found)
    assert not missing, f"acknowledged rows are missing: {sorted(missing)[:20]}"
    assert set(found) <= sent, "no row is there that nobody sent"


def check_transactions(server, last):
    values = {
        requests.get(f"{server.url}/v1/namespaces/kill/tables/p{table}", timeout=10).json()["metadata"]["properties"]["turn"]
        for table in range(3)
    }
    assert len(values) == 1, f"a transaction was torn: {values}"
    assert values.pop() >= last, "an acknowledged transaction is gone"


def test_kills_lose_nothing_and_double_nothing(tmp_path):
    server = Floeberg(tmp_path / "lake")
    generator = random.Random(7)
    requests.post(f"{server.url}/v1/namespaces", json={"namespace": ["kill"]}, timeout=10)
    schema = {"type": "struct", "fields": [{"id": 1, "name": "id", "required": False, "type": "long"}]}
    for table in range(3):
        body = {"name": f"p{table}", "schema": schema, "properties": {"turn": "", "write.metadata.delete-after-commit.enabled": "true", "write.metadata.previous-versions-max": "5"}}
        assert requests.post(f"{server.url}/v1/namespaces/kill/tables", json=body, timeout=10).status_code == 200
    sent, acknowledged, last, purged = set(), set(), "", []
    for number in range(ROUNDS):
        # A table to purge: the kill may come in the middle of it.
        requests.post(f"{server.url}/ingest/v1/kill/gone{number}", json=[{"id": i} for i in range(50)], timeout=20)
        location = server.pyiceberg().load_table(f"kill.gone{number}").location()
        writers = [Writer(server, writer, number + 1) for writer in range(WRITERS)]
        transactions = Transactions(server, number)
        for thread in [*writers, transactions]:
            thread.start()
        time.sleep(generator.uniform(0.02, 0.5))
        answer = requests.delete(f"{server.url}/v1/namespaces/kill/tables/gone{number}?purgeRequested=true", timeout=10)
        assert answer.status_code == 204
        purged.append(location)
        time.sleep(generator.uniform(0, 0.05))
        server.kill()
        for thread in [*writers, transactions]:
            thread.join(30)
            assert not thread.is_alive()
        for writer in writers:
            sent |= writer.sent
            acknowledged |= writer.acknowledged
        if transactions.acknowledged != -1:
            last = transactions.acknowledged
        server.start()
        check_transactions(server, last)
        if number % 5 == 4 or number == ROUNDS - 1:
            check_tables(server, sent, acknowledged)
    assert len(acknowledged) > ROUNDS * 10, "there was load"
    deadline = time.monotonic() + 30
    left = [Path(location.removeprefix("file://")) for location in purged]
    while any(folder.exists() for folder in left) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(folder.exists() for folder in left), "a purge that was killed goes on after the restart"
    print(f"{ROUNDS} kills, {len(acknowledged)} acknowledged rows, {len(sent)} sent")
    server.stop()
