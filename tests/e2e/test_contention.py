"""Many writers on one table: everybody gets through, and every snapshot is somebody's."""

import threading
import time

import pyarrow as pa
import requests
from pyiceberg.exceptions import CommitFailedException

from conftest import LONG, Floeberg

TURNS = 50


def test_ingest_and_pyiceberg_share_a_table(tmp_path):
    server = Floeberg(tmp_path / "lake")
    push = lambda ids: requests.post(
        f"{server.url}/ingest/v1/ns/t", json=[{"id": i} for i in ids], timeout=60
    )
    first = push([0]).json()["tables"][0]["snapshot_id"]
    answered, accepted, conflicts, failures = {first}, [], [], []
    running = threading.Event()
    running.set()

    def ingest(number):
        turn = 0
        # In the long form ingest goes on as long as anybody else is at work: the others must get through beside it.
        while turn < TURNS or (LONG and running.is_set()):
            answer = push([1_000_000 * (number + 1) + turn])
            if answer.status_code != 200:
                failures.append(answer.text)
                return
            answered.add(answer.json()["tables"][0]["snapshot_id"])
            written[number] = turn = turn + 1

    def append(number):
        catalog = server.pyiceberg()
        for turn in range(TURNS):
            rows = pa.table({"id": pa.array([100_000_000 * (number + 1) + turn], pa.int64())})
            deadline = time.monotonic() + 60
            while True:
                try:
                    catalog.load_table("ns.t").append(rows)
                    accepted.append(1)
                    break
                except CommitFailedException:
                    conflicts.append(1)
                    if time.monotonic() > deadline:
                        failures.append(f"a PyIceberg append did not get through in a minute ({turn})")
                        return

    written = {}
    pushers = [threading.Thread(target=ingest, args=(number,)) for number in range(4)]
    appenders = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    started = time.monotonic()
    for thread in [*pushers, *appenders]:
        thread.start()
    for thread in appenders:
        thread.join()
    took = time.monotonic() - started
    running.clear()
    for thread in pushers:
        thread.join()
    assert not failures, failures[:3]
    assert len(accepted) == 4 * TURNS and all(count >= TURNS for count in written.values())
    table = server.pyiceberg().load_table("ns.t")
    assert len(table.metadata.snapshots) == len(accepted) + len(answered)
    ids = table.scan().to_arrow()["id"].to_pylist()
    assert len(ids) == len(set(ids)) == 1 + sum(written.values()) + len(accepted)
    print(f"{len(accepted)} appends beside {sum(written.values())} pushes in {len(answered)} snapshots, {len(conflicts)} conflicts, {took:.1f} s")
    server.stop()
