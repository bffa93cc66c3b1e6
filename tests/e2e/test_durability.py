"""Seen from the kernel: what a pointer names is on the disk, with its folders, before the pointer is."""

import os
import re
import signal
import subprocess
from pathlib import Path

import requests

from conftest import BINARY, Process, answers, free_ports



def traced(tmp_path):
    """A floeberg under strace, and how to stop it."""
    port = free_ports(1)[0]
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-y", "-qq", "-e", "trace=openat,openat2,mkdir,fsync,fdatasync", "-o", trace]
    process = Process([*command, BINARY, "serve", "--listen", f"127.0.0.1:{port}"], tmp_path / "log", cwd=tmp_path)
    process.wait_for("floeberg", lambda: answers(f"http://127.0.0.1:{port}/health/ready"))
    return process, f"http://127.0.0.1:{port}", trace


def events(trace):
    """(kind, path) of each creation, folder and sync that succeeded, in the order in which they were done."""
    found, unfinished = [], {}
    for line in trace.read_text(errors="replace").splitlines():
        pid, rest = line.split(None, 1)
        if rest.endswith("<unfinished ...>"):
            unfinished[pid] = rest.removesuffix("<unfinished ...>").rstrip()
            continue
        if rest.startswith("<... "):
            rest = unfinished.pop(pid, "") + rest.split("resumed>", 1)[1]
        if re.search(r"= -1 ", rest):
            continue
        if match := re.match(r'openat\(.*?"([^"]+)", ([A-Z_|]+)', rest):
            if "O_CREAT" in match[2]:
                found.append(("create", match[1]))
        elif match := re.match(r'openat2\(\d+<([^>]+)>, "([^"]+)", \{flags=([A-Z_|]+)', rest):
            if "O_CREAT" in match[3]:
                found.append(("create", f"{match[1]}/{match[2]}"))
        elif match := re.match(r'mkdir\("([^"]+)"', rest):
            found.append(("mkdir", match[1]))
        elif match := re.match(r"f(?:data)?sync\(\d+<([^>]+)>", rest):
            found.append(("sync", match[1]))
    return found


def test_everything_named_is_synced_before_the_database_commits(tmp_path):
    process, url, trace = traced(tmp_path)
    headers = {"content-type": "application/json"}
    push = lambda table, rows: requests.post(f"{url}/ingest/v1/{table}", json=rows, headers=headers, timeout=60)
    for table in ["a.b/first?partition_by=part", "a.b/first", "a.b/second"]:
        assert push(table, [{"id": i, "part": f"p{i % 3}"} for i in range(9)]).status_code == 200
    schema = {"type": "struct", "fields": [{"id": 1, "name": "id", "required": False, "type": "long"}]}
    assert requests.post(f"{url}/v1/namespaces/a%1Fb/tables", json={"name": "plain", "schema": schema}, timeout=60).status_code == 200
    changes = [
        {"identifier": {"namespace": ["a", "b"], "name": name}, "requirements": [],
         "updates": [{"action": "set-properties", "updates": {"k": "v"}}]}
        for name in ["first", "second", "plain"]
    ]
    assert requests.post(f"{url}/v1/transactions/commit", json={"table-changes": changes}, timeout=60).status_code == 204
    child = int(subprocess.check_output(["pgrep", "-P", str(process.child.pid)]).split()[0])
    os.kill(child, signal.SIGTERM)
    process.child.wait(30)

    warehouse = tmp_path / "floeberg-data/warehouse"
    seen = events(trace)
    files = [str(path) for path in warehouse.rglob("*") if path.is_file()]
    assert len(files) > 20
    commits = [at for at, (kind, path) in enumerate(seen) if kind == "sync" and path.endswith("catalog.db-wal")]
    assert len(commits) >= 7, "each commit syncs the database's log"
    synced = {}
    for at, (kind, path) in enumerate(seen):
        if kind == "sync":
            synced.setdefault(path, []).append(at)
    for file in files:
        made = seen.index(("create", file))
        done = next((at for at in synced.get(file, []) if at > made), None)
        assert done is not None, f"{file} was never synced"
        folder = next((at for at in synced.get(str(Path(file).parent), []) if at > made), None)
        assert folder is not None, f"the folder of {file} was never synced"
        between = [at for at in commits if made < at < max(done, folder)]
        assert not between, f"the database committed before {file} was on the disk"
    folders = [(at, path) for at, (kind, path) in enumerate(seen) if kind == "mkdir" and path.startswith(str(warehouse) + "/")]
    assert len(folders) >= 10
    for made, path in folders:
        parent = next((at for at in synced.get(str(Path(path).parent), []) if at > made), None)
        assert parent is not None, f"{path} was made and its parent never synced"
        assert not [at for at in commits if made < at < parent], f"the database committed before {path} was on the disk"
