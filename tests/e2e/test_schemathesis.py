"""Our OpenAPI document against the server that serves it: Schemathesis makes requests up from it and judges the answers.

No answer may be a server error, and each must be what the document says of its status. The short form makes as many requests
each time and begins with one seed, so that it says the same of the same server; the long form goes on for ten minutes from a
seed of its own, which a failure prints. `E2E_SEED` begins with another one.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import BINARY, LONG, Floeberg

HERE = Path(__file__).resolve().parent
CHECKS = ["not_a_server_error", "response_schema_conformance"]
SEED = int(os.environ.get("E2E_SEED", random.randrange(2**32) if LONG else 1))
# Cases of each operation: a number takes as long as it takes, a time would end a slow machine's run early.
EXTENT = ["--max-examples=100", "--max-time=600"] if LONG else ["--max-examples=30"]

SERVER = """
auth = "token"
base-path = "/lake"
default-warehouse = "first"
allow-location = ["file://{0}/more"]
[warehouses.first]
url = "file://{0}/first"
[warehouses.second]
url = "file://{0}/second"
"""
TOOL = """
hooks = "{0}/shapes.py"
[headers]
Authorization = "Bearer {1}"
"""


@pytest.fixture
def guarded(tmp_path):
    """A server with all there is to ask of one: tokens, two warehouses, a base path. And its first token."""
    folder = tmp_path / "lake"
    folder.mkdir()
    config = SERVER.format(folder)
    (folder / "floeberg.toml").write_text(config)
    made = subprocess.run([BINARY, "token", "create", "--admin"], cwd=folder, capture_output=True, text=True, check=True)
    server = Floeberg(folder, config)
    yield server, made.stdout.strip()
    server.stop()


def test_every_answer_is_as_the_document_says(guarded, tmp_path):
    server, token = guarded
    (tmp_path / "schemathesis.toml").write_text(TOOL.format(HERE, token))
    command = [
        Path(sys.executable).parent / "schemathesis", "run", f"{server.url}/lake/openapi.json",
        f"--checks={','.join(CHECKS)}", "--phases=examples,coverage,fuzzing,stateful", f"--seed={SEED}", *EXTENT,
        "--continue-on-failure", "--generation-database=none", "--warnings=off", "--no-color",
        "--report=json", "--report-json-path=report.json",
    ]
    # What shapes.py asks the server with.
    env = {
        **os.environ, "FLOEBERG_TOKEN": token, "E2E_URL": f"{server.url}/lake",
        "E2E_WAREHOUSE": f"file://{server.folder}/first",
    }
    run = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=1800)
    said = f"with E2E_SEED={SEED}:\n{run.stdout}\n{run.stderr}"
    assert run.returncode == 0, said
    report = json.loads((tmp_path / "report.json").read_text())
    # Of each operation, how many of the requests that should be good were.
    rates = report["valid_rates"]
    good = {operation: sum(phase["accepted"] for phase in phases.values()) for operation, phases in rates.items()}
    requests = report["test_cases"]["generated"]
    print(f"seed {SEED}: {requests} requests, {sum(good.values())} of them good")
    assert report["complete"] and len(good) == report["operations"]["total"], said
    # Chance has its say in how many are; that each operation had some is asked below.
    assert requests > 3000 and sum(good.values()) > 4 * len(good), said
    # Of a directory nothing is signed: test_delegation.py has buckets.
    refused = [operation for operation, count in good.items() if count == 0 and not operation.endswith("/sign")]
    assert not refused, f"only ever refused: {refused}"
    assert "panicked" not in (server.folder / "log").read_text()
    assert server.stop() == 0, "a stop is clean"
