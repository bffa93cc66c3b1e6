"""The recipes as they are printed: each brings its rows once, though servers and networks fail, and who sends is killed.

`vector.toml` and `fluent-bit.conf` are not run.
"""

import importlib.util
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests
from pyiceberg.exceptions import NoSuchTableError

from conftest import Floeberg
from processes import Process
from relay import Message, Relay, Reset, Silence

RECIPES = Path(__file__).parents[2] / "recipes"
SEED = random.randrange(1 << 30)


class Doorway(Relay):
    """What pushes come through. `fates` says what becomes of the first, the second …, by their numbers:

    `full`, `broken` or `refused`: answered so, and not sent on; `lost`: sent on, and no answer comes back; `late`: no answer comes,
    and it is sent on right before the next one.
    """

    ANSWERS = {"full": (503, [("Retry-After", "1")]), "broken": (500, []), "refused": (422, [])}

    def __init__(self, server, fates):
        self.fates, self.pushes, self.late, self.lock = fates, [], None, threading.Lock()
        super().__init__(server.url.removeprefix("http://"))

    def answer(self, request):
        if request.method != "POST" or request.target.endswith("/flush"):
            return self.forward(request)
        with self.lock:
            fate = self.fates.get(len(self.pushes))
            self.pushes.append(request)
            late, self.late = self.late, request if fate == "late" else None
        if late:
            self.forward(late)
        if fate in self.ANSWERS:
            status, headers = self.ANSWERS[fate]
            return Message(headers, b"<p>This is no JSON.</p>", status=status)
        if fate == "late":
            raise Silence
        answer = self.forward(request)
        if fate == "lost":
            raise Reset
        return answer

    def keys(self):
        """By key, the bodies that came with it."""
        found = {}
        for push in self.pushes:
            found.setdefault(push.header("idempotency-key"), []).append(push.body)
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Floeberg(tmp_path_factory.mktemp("recipes"))
    yield server
    assert server.stop() == 0, "a stop is clean"


def environment(url):
    return {**os.environ, "FLOEBERG_URL": url}


def run(url, *command, **options):
    return subprocess.run(command, env=environment(url), capture_output=True, text=True, timeout=60, **options)


def values(server, table, *columns):
    # DuckDB has `at` for a word of its own.
    quoted = ", ".join(f'"{column}"' for column in columns)
    return server.duckdb().execute(f"SELECT {quoted} FROM ice.{table} ORDER BY ALL").fetchall()


def ids(server, table):
    return [id for id, in values(server, table, "id")]


def total(server, table):
    """How many rows are in a table, after what waits for it was committed."""
    requests.post(f"{server.url}/ingest/v1/{table.replace('.', '/')}/flush", timeout=60)
    try:
        snapshot = server.pyiceberg().load_table(table).current_snapshot()
    except NoSuchTableError:
        return 0
    return int(snapshot.summary["total-records"]) if snapshot else 0


def wait_until(ready, seconds=30):
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.05)


def sent_again_as_it_was(doorway):
    return all(len(set(bodies)) == 1 for bodies in doorway.keys().values())


def test_curl(server):
    doorway = Doorway(server, {0: "lost", 2: "full"})
    first = run(doorway.endpoint, RECIPES / "curl.sh", "shop/orders")
    second = run(doorway.endpoint, RECIPES / "curl.sh", "shop/orders")
    doorway.down()
    assert first.returncode == second.returncode == 0, first.stdout + first.stderr + second.stdout + second.stderr
    assert second.stdout.count('"duplicate":true') == 4, "each of three requests, and what is shown of the last"
    assert len(doorway.pushes) == 3 + 2 + 3 and len(doorway.keys()) == 3
    assert ids(server, "shop.orders") == list(range(1, 24))
    rows = values(server, "shop.orders", "id", "at", "amount")
    assert rows[1] == (2, datetime(2024, 1, 1, 22, 59, 59, 500_000, tzinfo=timezone.utc), 3.0)
    assert [field.name for field in server.pyiceberg().load_table("shop.orders").spec().fields] == ["at_day"]
    refused = run(server.url, RECIPES / "curl.sh", "shop")
    assert refused.returncode != 0 and "No such endpoint" in refused.stdout


def test_javascript_sink(server, tmp_path):
    doorway = Doorway(server, {0: "lost", 1: "full", 3: "broken"})
    doorway.down()
    log = tmp_path / "log"
    with log.open("wb") as out:
        node = subprocess.Popen(["node", RECIPES / "sink_example.mjs"], env=environment(doorway.endpoint), stdout=out, stderr=out)
    # Nobody is there yet.
    time.sleep(0.5)
    doorway.up()
    assert node.wait(60) == 0, log.read_text()
    doorway.down()
    # The last row is named, and the others of its batch are sent again.
    assert 'not taken: {"id":"the last",' in log.read_text()
    assert ids(server, "shop.clicks") == list(range(2_499))
    assert sent_again_as_it_was(doorway) and len(doorway.keys()) == 4 and len(doorway.pushes) == 7
    rows = [body.count(b"\n") + 1 for body, *_ in doorway.keys().values()]
    assert rows == [1_000, 1_000, 500, 499]


SINK = """
import { Sink } from SINK;
const rejected = [];
const settings = { seconds: 0.1, onRejected(rows, problem) { rejected.push([rows, problem.code]); } };
const sink = new Sink(`${URL}/ingest/v1/js/sink`, settings);
await sink.push({ id: 1 });
await sink.push({ id: 2 });
// Only the time makes it send.
while (!(await fetch(`${URL}/ingest/v1/js/sink/status`)).ok) await new Promise((resolve) => setTimeout(resolve, 20));
await sink.push({ id: "x" });
await sink.flush();
console.log(JSON.stringify(rejected));
const plain = new Sink(`${URL}/ingest/v1/js`);
await plain.push({ id: 3 });
await plain.close().then(() => console.log("taken"), (fault) => console.log(fault.message));
"""


def test_javascript_sink_sends_after_some_time_and_hands_back_what_is_refused(server):
    script = SINK.replace("from SINK", f"from {json.dumps((RECIPES / 'sink.mjs').as_uri())}").replace("${URL}", server.url)
    ran = run(server.url, "node", "--input-type=module", "-e", script)
    assert ran.returncode == 0, ran.stderr
    rejected, plain = ran.stdout.splitlines()
    assert json.loads(rejected) == [[[{"id": "x"}], "wrong_type"]]
    assert plain.startswith("1 rows were not taken: No such endpoint")
    assert ids(server, "js.sink") == [1, 2]


def test_python_sink(server):
    doorway = Doorway(server, {0: "lost", 1: "full", 3: "broken"})
    doorway.down()
    opening = threading.Timer(0.5, doorway.up)
    opening.start()
    rows = [{"id": id, "at": f"2024-01-0{1 + id % 3}T00:00:00Z"} for id in range(2_499)] + [{"id": "the last"}]
    given = "".join(json.dumps(row) + "\n" for row in rows)
    ran = run(doorway.endpoint, sys.executable, RECIPES / "push.py", "shop/visits?partition_by=day(at)", input=given)
    opening.join()
    doorway.down()
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith('not taken: {"id": "the last"}: '), ran.stderr
    assert ids(server, "shop.visits") == list(range(2_499))
    assert sent_again_as_it_was(doorway) and len(doorway.keys()) == 4 and len(doorway.pushes) == 7


def test_python_sink_sends_after_some_time_and_hands_back_what_is_refused(server):
    spec = importlib.util.spec_from_file_location("push", RECIPES / "push.py")
    push = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(push)
    rejected = []
    with push.Sink(f"{server.url}/ingest/v1/py/sink", seconds=0.1, on_rejected=lambda *what: rejected.append(what)) as sink:
        sink.push({"id": 1, "at": datetime(2024, 1, 1, tzinfo=timezone.utc)})
        sink.push({"id": 2})
        # Only the time makes it send.
        wait_until(lambda: total(server, "py.sink") == 2)
        sink.push({"id": "x"})
        sink.flush()
        (rows, problem), = rejected
        assert rows == [{"id": "x"}] and problem["code"] == "wrong_type"
    with pytest.raises(push.NotTaken, match="1 rows were not taken: No such endpoint"):
        with push.Sink(f"{server.url}/ingest/v1/py") as sink:
            sink.push({"id": 3})
    assert ids(server, "py.sink") == [1, 2]


def shipper(url, file, table, *more):
    command = [sys.executable, RECIPES / "shipper.py", file, table, *more]
    return Process(command, file.with_suffix(".log"), env=environment(url))


def append(file, text):
    with file.open("a") as out:
        out.write(text)


class Application(threading.Thread):
    """Writes lines of JSON into a file, in pieces that end anywhere."""

    def __init__(self, file, count):
        super().__init__(daemon=True)
        self.file, self.dice = file, random.Random(SEED)
        lines = [json.dumps({"id": id, "said": f"é {id}" * self.dice.randrange(20)}, ensure_ascii=False) for id in range(count)]
        self.text = "".join(line + ("\n\n" if id % 500 == 0 else "\n") for id, line in enumerate(lines))

    def run(self):
        done = 0
        while done < len(self.text):
            piece = self.dice.randrange(1, len(self.text) // 40)
            append(self.file, self.text[done : done + piece])
            done += piece
            time.sleep(0.1)


def test_shipper_ships_each_line_once_whoever_is_killed(tmp_path):
    print(f"seed {SEED}")
    server = Floeberg(tmp_path / "lake")
    doorway = Doorway(server, {1: "lost", 3: "full", 5: "lost", 6: "broken"})
    file, dice = tmp_path / "events.ndjson", random.Random(SEED)
    application = Application(file, 10_000)
    application.start()
    wait_until(file.exists)
    for turn in range(6):
        sender, pushes = shipper(doorway.endpoint, file, "app/events"), len(doorway.pushes)
        wait_until(lambda: len(doorway.pushes) > pushes)
        time.sleep(dice.uniform(0, 0.05))
        if turn == 3:
            server.kill()
            server.start()
            pushes = len(doorway.pushes)
            wait_until(lambda: len(doorway.pushes) > pushes)
        sender.kill()
    application.join()
    last = shipper(doorway.endpoint, file, "app/events", "--once")
    assert last.child.wait(60) == 0, last.log.read_text()
    assert ids(server, "app.events") == list(range(10_000)), last.log.read_text()
    # Nothing is left to be shipped.
    pushes = len(doorway.pushes)
    assert shipper(doorway.endpoint, file, "app/events", "--once").child.wait(60) == 0
    assert len(doorway.pushes) == pushes
    doorway.down()
    assert server.stop() == 0


def test_shipper_is_not_misled_by_a_chunk_that_comes_late(server, tmp_path):
    doorway, file = Doorway(server, {0: "late"}), tmp_path / "late.ndjson"
    append(file, "".join(f'{{"id": {id}}}\n' for id in range(100)))
    sender = shipper(doorway.endpoint, file, "app/late")
    wait_until(lambda: doorway.late)
    sender.kill()
    append(file, "".join(f'{{"id": {id}}}\n' for id in range(100, 150)))
    # The same number is sent with more lines, and what the one before it had sent is there first.
    assert shipper(doorway.endpoint, file, "app/late", "--once").child.wait(60) == 0
    assert [push.header("x-producer-seq") for push in doorway.pushes] == ["0", "0", "1"]
    assert ids(server, "app.late") == list(range(150))
    # Begun anew; and then with a line that does not fit.
    file.write_text('{"id": 150}\n')
    assert shipper(doorway.endpoint, file, "app/late", "--once").child.wait(60) == 0
    append(file, '{"id": 151}\n{"id": "x"}\n')
    stopped = shipper(doorway.endpoint, file, "app/late", "--once")
    assert stopped.child.wait(60) == 1
    assert "refused are lines from byte 12 on" in stopped.log.read_text() and "line 2 of them, /id" in stopped.log.read_text()
    assert ids(server, "app.late") == list(range(151))
    doorway.down()


AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148",
    "curl/7.88.1", "Ünïcode/1.0", r"a \"quoted\" one \x22too\x22", None,
]


def access_log(count):
    """Lines of an access log, and of each what is to be understood of it."""
    dice, start, known = random.Random(SEED), datetime(2024, 3, 9, 20, tzinfo=timezone.utc), []
    for number in range(count):
        at = start + timedelta(seconds=7 * number)
        if number % 400 == 13:
            known.append((f"[notice] {number}: no access at all, {'x' * dice.randrange(3_000)}", *[None] * 8))
            continue
        zone = timezone(timedelta(minutes=dice.choice([0, 0, 0, 60, -420, 330])))
        client = dice.choice(["203.0.113.9", "198.51.100.77", "2001:db8::5"])
        user, referrer = dice.choice([None, None, "frank"]), dice.choice([None, "https://example.org/?q=a%20b"])
        agent, status = dice.choice(AGENTS), dice.choice([200, 200, 200, 304, 404, 500])
        size = None if status == 304 else dice.randrange(100_000)
        method, path = dice.choice([("GET", f"/item/{number}?a=1&b=%22"), ("POST", "/é"), (None, None)])
        request = f"{method} {path} HTTP/1.1" if method else r"\x16\x03\x01\x02"
        line = (
            f'{client} - {user or "-"} [{at.astimezone(zone).strftime("%d/%b/%Y:%H:%M:%S %z")}] "{request}" {status} '
            f'{"-" if size is None else size} "{referrer or "-"}" "{agent or "-"}"'
        )
        known.append((line, at, client, user, method, path, status, size, referrer, agent))
    return known


def syslog_ng(doorway, file, state):
    """The daemon with the recipe, of which only what is defined at its top is set."""
    settings = {"file": file, "state": state, "table": f"{doorway.endpoint}/ingest/v1/web/access?ack=wal&partition_by=day(at)"}
    text = (RECIPES / "syslog-ng.conf").read_text()
    for name, value in settings.items():
        text, times = re.subn(rf'^(@define {name}\s+)".*"$', lambda found: f'{found[1]}"{value}"', text, flags=re.MULTILINE)
        assert times == 1
    state.mkdir(exist_ok=True)
    (state / "conf").write_text(text)
    own = ["-f", state / "conf", "-R", state / "persist", "-c", state / "control", "-p", state / "pid"]
    return Process(["syslog-ng", "-F", "-e", *own], state / "log")


def test_syslog_ng_ships_an_access_log_and_goes_on_after_a_restart(server, tmp_path):
    print(f"seed {SEED}")
    doorway = Doorway(server, {1: "full", 3: "refused"})
    file, known = tmp_path / "access.log", access_log(5_100)
    lines = [line + "\n" for line, *_ in known]
    append(file, "".join(lines[:2_000]))
    daemon = syslog_ng(doorway, file, tmp_path / "state")
    wait_until(lambda: total(server, "web.access") >= 1_000)
    # It is stopped while it is at work, and lines come while it is not there.
    append(file, "".join(lines[2_000:3_000]))
    assert daemon.stop() == 0
    append(file, "".join(lines[3_000:4_500]))
    daemon = syslog_ng(doorway, file, tmp_path / "state")
    append(file, "".join(lines[4_500:]))
    wait_until(lambda: total(server, "web.access") >= 5_100)
    assert daemon.stop() == 0
    doorway.down()
    assert total(server, "web.access") == 5_100 and len(doorway.pushes) > max(doorway.fates)
    columns = ["line", "at", "client", "user", "method", "path", "status", "bytes", "referrer", "agent"]
    found = values(server, "web.access", *columns, "id", "file")
    understood = Counter(row[:10] for row in found if row[2])
    assert understood == Counter(row for row in known if row[2])
    assert Counter(row[0] for row in found) == Counter(row[0] for row in known)
    assert len({row[10] for row in found}) == 5_100 and {row[11] for row in found} == {str(file)}
