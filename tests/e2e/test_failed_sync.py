"""The database's log cannot be synced. What was written to it may come back with the next start, or not: so nobody is told that it is
there, and nobody that it is not. Whoever asks again under a key finds out, and finds it once."""

import os
import subprocess
from pathlib import Path

import pytest
import requests

from conftest import BINARY, Floeberg, Process, answers

SOURCE = Path(__file__).parent / "failing_sync.c"
TABLE = "/v1/namespaces/ns/tables/t"


class Breakable(Floeberg):
    """A floeberg whose database fails while `broken` is there."""

    @property
    def broken(self):
        return self.folder / "broken"

    def start(self):
        library = self.folder / "failing_sync.so"
        if not library.exists():
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
        env = {**os.environ, "LD_PRELOAD": str(library), "BREAK_SYNC": str(self.broken)}
        command = [BINARY, "serve", "--listen", f"127.0.0.1:{self.port}"]
        self.process = Process(command, self.folder / "log", cwd=self.folder, env=env)
        self.process.wait_for("floeberg", lambda: answers(f"{self.url}/health/ready"))

    def push(self, id, query="", **headers):
        return requests.post(f"{self.url}/ingest/v1/ns/t{query}", json=[{"id": id}], headers=headers, timeout=60)

    def describe(self, text):
        update = {"action": "set-properties", "updates": {"comment": text}}
        return requests.post(f"{self.url}{TABLE}", json={"requirements": [], "updates": [update]}, timeout=60)

    def mend(self, by_a_start):
        if by_a_start:
            self.kill()
        self.broken.unlink()
        if by_a_start:
            self.start()

    def flush(self):
        assert requests.post(f"{self.url}/ingest/v1/ns/t/flush", timeout=60).status_code == 200

    def ids(self):
        return sorted(self.pyiceberg().load_table("ns.t").scan().to_arrow()["id"].to_pylist())


@pytest.fixture
def server(tmp_path):
    server = Breakable(tmp_path / "lake")
    assert server.push(0).status_code == 200
    yield server
    server.kill()


@pytest.mark.parametrize("by_a_start", [True, False], ids=["killed", "mended"])
def test_a_commit_whose_sync_fails_is_of_unknown_outcome(server, by_a_start):
    server.broken.touch()
    answer = server.push(1, **{"Idempotency-Key": "one"})
    assert (answer.status_code, answer.json()["state"]) == (500, "unknown"), answer.text
    server.mend(by_a_start)
    # Whatever became of it, the same request is written once.
    for _ in range(2):
        assert server.push(1, **{"Idempotency-Key": "one"}).status_code == 200
    assert server.ids() == [0, 1]
    server.broken.touch()
    answer = server.describe("first")
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "CommitStateUnknownException"), answer.text
    server.mend(by_a_start)
    # Old or new, it can be read and be changed, and what comes next holds.
    assert server.ids() == [0, 1]
    assert server.describe("second").status_code == 200
    assert server.push(2).status_code == 200
    server.kill()
    server.start()
    table = requests.get(f"{server.url}{TABLE}", timeout=60).json()
    assert table["metadata"]["properties"]["comment"] == "second" and server.ids() == [0, 1, 2]


@pytest.mark.parametrize("by_a_start", [True, False], ids=["killed", "mended"])
def test_what_is_acknowledged_is_committed_once_the_disk_is_well(server, by_a_start):
    server.broken.touch()
    # The server's own log is another file.
    assert server.push(1, "?ack=wal").status_code == 202
    answer = requests.post(f"{server.url}/ingest/v1/ns/t/flush", timeout=60)
    assert (answer.status_code, answer.json()["state"]) == (500, "unknown"), answer.text
    assert server.push(2, "?ack=wal", **{"Idempotency-Key": "two"}).status_code == 202
    server.mend(by_a_start)
    server.flush()
    assert server.push(2, "?ack=wal", **{"Idempotency-Key": "two"}).json()["duplicate"] is True
    server.flush()
    assert server.ids() == [0, 1, 2]
