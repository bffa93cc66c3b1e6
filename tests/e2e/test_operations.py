"""The binary as an operator meets it: start, stop, check, a second process, a port that is taken."""

import json
import signal
import subprocess
import threading
import time

import pytest
import requests

from conftest import BINARY, Floeberg, Process, free_ports


def run(*arguments, cwd, **options):
    return subprocess.run([BINARY, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, **options)


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
