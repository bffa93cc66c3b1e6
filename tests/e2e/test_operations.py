"""The binary as an operator meets it: start, stop, check, a second process, a port that is taken."""

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
import requests

from conftest import BINARY, Floeberg, Process, free_ports, run


@pytest.fixture
def server(tmp_path):
    server = Floeberg(tmp_path / "lake")
    yield server
    server.stop()


def test_check_says_what_is_wrong(server, tmp_path):
    good = run("check", "--url", server.url, cwd=tmp_path)
    assert good.returncode == 0 and "ok" in good.stdout and "FAILED" not in good.stdout, good.stdout
    held = run("check", cwd=server.folder)
    assert held.returncode == 0 and server.url in held.stdout, "it asks whoever holds the directory"
    empty = tmp_path / "empty"
    empty.mkdir()
    fresh = run("check", cwd=empty)
    assert fresh.returncode == 0 and "warehouse default: file:///" in fresh.stdout, fresh.stdout
    (empty / "floeberg.toml").write_text('listne = "x"\n')
    typo = run("check", cwd=empty)
    assert typo.returncode == 1 and "did you mean listen?" in typo.stdout
    down = run("check", "--url", f"http://127.0.0.1:{free_ports(1)[0]}", cwd=tmp_path)
    assert down.returncode == 1 and "does not answer" in down.stdout


def test_check_names_a_store_that_refuses(seaweedfs, tmp_path):
    config = seaweedfs.config("checked")
    (tmp_path / "floeberg.toml").write_text(config)
    assert run("check", cwd=tmp_path).returncode == 0
    (tmp_path / "floeberg.toml").write_text(config.replace('secret-access-key = "harness-secret"', 'secret-access-key = "wrong"'))
    wrong = run("check", cwd=tmp_path)
    assert wrong.returncode == 1 and "FAILED  warehouse lake" in wrong.stdout and "keys" in wrong.stdout, wrong.stdout
    assert "harness-secret" not in wrong.stdout + wrong.stderr
    down = config.replace(seaweedfs.endpoint, f"http://127.0.0.1:{free_ports(1)[0]}")
    (tmp_path / "floeberg.toml").write_text(down)
    gone = run("check", cwd=tmp_path)
    assert gone.returncode == 1 and "FAILED  warehouse lake" in gone.stdout, gone.stdout


def test_a_second_process_and_a_taken_port_are_told(server, tmp_path):
    second = run("serve", "--listen", "127.0.0.1:0", cwd=server.folder)
    assert second.returncode == 1 and "in use by another floeberg at http://127.0.0.1" in second.stderr
    port = run("serve", "--listen", f"127.0.0.1:{server.port}", cwd=tmp_path)
    assert port.returncode == 1 and "choose another with --listen" in port.stderr
    beyond = run("serve", "--listen", "0.0.0.0:0", cwd=tmp_path)
    assert beyond.returncode == 1 and "--insecure-no-auth" in beyond.stderr


def test_a_stop_finishes_what_is_under_way(tmp_path):
    server = Floeberg(tmp_path / "lake")
    done = []

    def push():
        rows = "".join(f'{{"id":{i}}}\n' for i in range(200_000))
        done.append(requests.post(f"{server.url}/ingest/v1/ns/t", data=rows, headers={"content-type": "application/x-ndjson"}, timeout=60))

    thread = threading.Thread(target=push)
    thread.start()
    time.sleep(0.15)
    assert server.stop() == 0
    thread.join()
    assert done[0].status_code == 200, done[0].text
    server.start()
    table = server.pyiceberg().load_table("ns.t")
    assert table.scan().to_arrow().num_rows == 200_000
    server.stop()


def test_a_second_signal_ends_at_once(tmp_path):
    server = Floeberg(tmp_path / "lake")
    stuck = requests.Session()
    # A request whose body never ends keeps the server waiting.
    def forever():
        yield b'{"id":1}\n'
        time.sleep(30)

    def push():
        try:
            stuck.post(f"{server.url}/ingest/v1/ns/t", data=forever(), headers={"content-type": "application/x-ndjson"}, timeout=40)
        except requests.RequestException:
            pass

    threading.Thread(target=push, daemon=True).start()
    time.sleep(0.3)
    server.process.child.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.process.child.poll() is None, "it waits for the request"
    assert server.process.stop(signal.SIGTERM, seconds=5) == 130


def test_ephemeral_data_is_gone_afterwards(tmp_path):
    process = Process([BINARY, "serve", "--ephemeral", "--listen", "127.0.0.1:0"], tmp_path / "out", cwd=tmp_path)
    process.wait_for("floeberg", lambda: "Data directory" in (tmp_path / "out").read_text())
    folder = next(line.split()[-1] for line in (tmp_path / "out").read_text().splitlines() if "Data directory" in line)
    import pathlib

    assert pathlib.Path(folder).is_dir()
    assert process.stop() == 0
    assert not pathlib.Path(folder).exists()


def test_logs_are_json_on_demand_and_carry_the_request(tmp_path):
    server = Floeberg(tmp_path / "lake", config='[log]\nformat = "json"\n')
    requests.post(f"{server.url}/v1/namespaces", json={"namespace": ["ns"]}, headers={"x-request-id": "abc-7"}, timeout=10)
    server.stop()
    lines = [line for line in (server.folder / "log").read_text().splitlines() if line.startswith("{")]
    entries = [json.loads(line) for line in lines]
    assert any(entry.get("request_id") == "abc-7" and entry.get("status") == 200 for entry in entries), lines


def test_cors_is_for_the_origins_that_are_named(tmp_path):
    server = Floeberg(tmp_path / "lake", config='cors-origins = ["http://console.test"]\n')
    ask = {"Origin": "http://console.test", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = requests.options(f"{server.url}/v1/namespaces", headers=ask, timeout=10)
    assert answer.headers["access-control-allow-origin"] == "http://console.test"
    other = requests.options(f"{server.url}/v1/namespaces", headers={**ask, "Origin": "http://evil.test"}, timeout=10)
    assert "access-control-allow-origin" not in other.headers
    server.stop()


def hold(server, table, length):
    """A push whose body never comes: its memory is set aside."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    head = f"POST /ingest/v1/{table} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n["
    connection.sendall(head.encode())
    time.sleep(0.2)
    return connection


def test_one_tables_share_and_the_whole_memory(tmp_path):
    server = Floeberg(tmp_path / "lake", config='[ingest]\nmemory = "1MiB"\nbody = "1MiB"\n')
    push = lambda table, rows: requests.post(f"{server.url}/ingest/v1/{table}", json=rows, timeout=20)
    assert push("ns/slow", [{"id": 0}]).status_code == 200
    held = hold(server, "ns/slow", 500_000)
    mine = push("ns/slow", [{"id": i} for i in range(2_000)])
    assert (mine.status_code, mine.json()["code"], mine.headers["Retry-After"]) == (429, "share", "1"), mine.text
    assert push("ns/other", [{"id": 1}]).status_code == 200, "another table is not concerned"
    more = hold(server, "ns/more", 500_000)
    full = push("ns/other", [{"id": i} for i in range(10_000)])
    assert (full.status_code, full.json()["code"], full.headers["Retry-After"]) == (503, "memory", "1"), full.text
    for connection in [held, more]:
        connection.close()
    time.sleep(0.2)
    assert push("ns/slow", [{"id": i} for i in range(2_000)]).status_code == 200, "what was set aside is given back"
    server.stop()


def test_properties_that_are_not_followed_are_said_once(server):
    catalog = server.pyiceberg()
    catalog.create_namespace("ns")
    schema = pa.schema([("id", pa.int64())])
    catalog.create_table("ns.t", schema, properties={"write.parquet.shred-variants": "true"})
    for i in range(3):
        requests.post(f"{server.url}/ingest/v1/ns/t", json=[{"id": i}], timeout=20).raise_for_status()
    said = [line for line in (server.folder / "log").read_text().splitlines() if "write.parquet.shred-variants" in line]
    assert len(said) == 1 and "ns.t" in said[0] and "WARN" in said[0], said


def test_a_full_disk_refuses_and_loses_nothing(small_disk):
    server = Floeberg(small_disk)
    push = lambda first: requests.post(
        f"{server.url}/ingest/v1/ns/t", json=[{"id": i, "text": f"{i:0200}"} for i in range(first, first + 100)], timeout=20
    )
    assert push(0).status_code == 200
    made = {"name": "p", "schema": {"type": "struct", "fields": []}}
    requests.post(f"{server.url}/v1/namespaces/ns/tables", json=made, timeout=10).raise_for_status()
    filler, acknowledged, refused = small_disk / "filler", [0], 0
    with filler.open("wb") as out:
        out.write(b"x" * (shutil.disk_usage(small_disk).free - 200_000))
    for first in range(100, 20_000, 100):
        answer = push(first)
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 200:
            acknowledged.append(first)
        else:
            refused += 1
        if refused == 20:
            break
    assert refused == 20, "the disk was full"
    # Whatever is left of it: in the end even the smallest commit finds no room, or all of them do.
    for turn in range(200):
        updates = [{"action": "set-properties", "updates": {"turn": str(turn) * 500}}]
        body = {"requirements": [], "updates": updates}
        answer = requests.post(f"{server.url}/v1/namespaces/ns/tables/p", json=body, timeout=10)
        assert answer.status_code in (200, 503), answer.text
    assert answer.status_code == 503
    for turn in range(20):
        answers = [
            requests.post(f"{server.url}/v1/namespaces", json={"namespace": [f"n{turn}"]}, timeout=10),
            requests.post(f"{server.url}/v1/namespaces/ns/tables", json={**made, "name": f"m{turn}"}, timeout=10),
            requests.delete(f"{server.url}/v1/namespaces/ns/tables/m{turn}", timeout=10),
        ]
        assert all(answer.status_code in (200, 204, 404, 503) for answer in answers), [answer.text for answer in answers]
    assert requests.get(f"{server.url}/v1/namespaces/ns/tables/t", timeout=10).status_code == 200, "reading goes on"
    filler.unlink()
    assert push(100_000).status_code == 200, "room again, and all is well"
    acknowledged.append(100_000)
    # What takes a transaction of several statements is well again too.
    tables = f"{server.url}/v1/namespaces/after/tables"
    requests.post(f"{server.url}/v1/namespaces", json={"namespace": ["after"]}, timeout=10).raise_for_status()
    location = requests.post(tables, json={**made, "name": "gone"}, timeout=10).json()["metadata"]["location"]
    requests.delete(f"{tables}/gone?purgeRequested=true", timeout=10).raise_for_status()
    deadline = time.monotonic() + 20
    while Path(location.removeprefix("file://")).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(location.removeprefix("file://")).exists()
    assert requests.get(f"{server.url}/health/ready", timeout=10).status_code == 200
    server.kill()
    server.start()
    rows = server.pyiceberg().load_table("ns.t").scan().to_arrow()["id"].to_pylist()
    assert sorted(rows) == sorted(i for first in acknowledged for i in range(first, first + 100))
    server.stop()
