"""The analytics example as it is printed: its tables hold every row once, laid out by date and hour, and nothing that gives anybody
away; its four questions are answered as plain loops over the same rows answer them. A million invocations in the long form.
"""

import ipaddress
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import duckdb_extension_avro
import duckdb_extension_httpfs
import duckdb_extension_iceberg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import BINARY, LONG, Floeberg, duckdb, extension_file

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "analytics"
# What the example does where nobody says how many rows there are to be, and what it is told to.
ROWS, SAID = (1_000_000, "") if LONG else (20_000, " 20000")
LAST_DAY, WEEK = date(2026, 1, 31), timedelta(7)
# What the server is to have made of a call: all columns but the message, which is looked at by itself.
CALLS = pa.schema(
    [
        *((name, pa.string()) for name in ("invocation_id", "function_id", "language", "version")),
        ("started_at", pa.timestamp("us", "UTC")),
        ("duration_ms", pa.float64()),
        ("success", pa.bool_()),
        ("error_type", pa.string()),
        ("cold_start", pa.bool_()),
        ("memory_used_bytes", pa.int64()),
        *((name, pa.string()) for name in ("client_ip", "region", "colo")),
        ("date", pa.date32()),
        ("hour", pa.int32()),
    ]
)


class Place:
    """A server, and somewhere to run the example's commands from."""

    def __init__(self, folder):
        self.server = Floeberg(folder / "lake")
        self.folder = folder / "shell"
        programs, home = self.folder / "bin", self.folder / "home"
        programs.mkdir(parents=True)
        (programs / "floeberg").symlink_to(Path(BINARY).resolve())
        (self.folder / "examples").symlink_to(ROOT / "examples")
        # Where DuckDB looks for what was installed.
        platform, = duckdb.sql("PRAGMA platform").fetchone()
        extensions = home / ".duckdb" / "extensions" / f"v{duckdb.__version__}" / platform
        extensions.mkdir(parents=True)
        for module in (duckdb_extension_httpfs, duckdb_extension_avro, duckdb_extension_iceberg):
            (extensions / extension_file(module).name).symlink_to(extension_file(module))
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "HOME": str(home), "PATH": path, "FLOEBERG_URL": self.server.url}

    def run(self, command):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def ask(self, query):
        return self.server.duckdb().execute(query).fetchall()

    def table(self, name):
        return self.server.pyiceberg().load_table(f"analytics.{name}")

    def files(self):
        """The data files of all tables, those of dead letters too."""
        found = list((self.server.folder / "floeberg-data").rglob("*.parquet"))
        assert found
        return found


def printed(beginning):
    """The commands of the README that begin so."""
    text = (EXAMPLE / "README.md").read_text().replace(" \\\n", " ")
    found = [line.strip() for line in text.splitlines() if line.startswith(f"    {beginning}")]
    assert found, beginning
    return found


@cache
def network(address):
    """What is left of an address."""
    parsed = ipaddress.ip_address(address)
    if parsed.version == 6 and parsed.ipv4_mapped:
        return f"::ffff:{network(str(parsed.ipv4_mapped))}"
    kept = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network(f"{address}/{kept}", strict=False).network_address)


def moment(text):
    return datetime.fromisoformat(text).astimezone(timezone.utc)


class Truth:
    """What the generator makes, by itself, and what is to become of it: by plain loops, and nothing of the server's."""

    def __init__(self, place):
        noted = place.folder / "noted"
        command = [sys.executable, EXAMPLE / "generate.py", "--rows", str(ROWS), "--secrets", noted]
        self.blocks, self.block = [], []
        self.letters, self.errors, self.limited, self.deployed = {}, {}, {}, {}
        self.by_function, self.failed, self.durations = Counter(), Counter(), defaultdict(list)
        self.by_language = defaultdict(lambda: ([], []))
        begun = os.times()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as made:
            for line in made.stdout:
                self.take(json.loads(line))
        assert made.returncode == 0
        ended = os.times()
        print(f"made again: {ended.children_user + ended.children_system - begun.children_user - begun.children_system:.1f} s of CPU")
        self.flush()
        self.calls = pa.concat_tables(self.blocks).combine_chunks().sort_by("invocation_id")
        self.secrets = set(noted.read_text().split())

    def take(self, envelope):
        table, row = envelope["table"], envelope["row"]
        assert "date" not in row and "hour" not in row
        if table == "analytics.invocations":
            self.call(row)
            return
        row["at"] = moment(row.get("occurred_at") or row["deployed_at"])
        row["date"] = row["at"].date()
        rows, id = {
            "analytics.errors": (self.errors, "error_id"),
            "analytics.rate_limits": (self.limited, "event_id"),
            "analytics.deployments": (self.deployed, "deployment_id"),
        }[table]
        rows[row[id]] = row

    def call(self, row):
        fits = "function_id" in row and isinstance(row["duration_ms"], float) and row["started_at"] != "just now"
        if not fits:
            self.letters[row["invocation_id"]] = row
            return
        at = moment(row["started_at"])
        self.block.append({**row, "started_at": at, "client_ip": network(row["client_ip"]), "date": at.date(), "hour": at.hour})
        if len(self.block) == 50_000:
            self.flush()
        if at.date() > LAST_DAY - WEEK:
            self.by_function[row["function_id"]] += 1
            self.failed[row["function_id"]] += not row["success"]
            self.durations[row["function_id"], str(at.date())].append(row["duration_ms"])
            self.by_language[row["language"]][row["cold_start"]].append(row["duration_ms"])

    def flush(self):
        self.blocks.append(pa.Table.from_pylist(self.block, schema=CALLS))
        self.block = []

    def holds_a_secret(self, text):
        return any(token in self.secrets for token in TOKEN.findall(text)) or bool(addresses(text))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("analytics"))
    since = time.monotonic()
    place.said = place.run(printed("examples/analytics/run.sh")[0] + SAID)
    print(f"run.sh: {time.monotonic() - since:.1f} s")
    yield place
    assert place.server.stop() == 0, "a stop is clean"


@pytest.fixture(scope="module")
def truth(place):
    return Truth(place)


def test_it_says_what_it_did(place, truth):
    print(place.said)
    made = re.findall(r"^analytics\.(\w+): made, \d+ rules$", place.said, re.MULTILINE)
    assert made == ["invocations", "rate_limits", "deployments", "errors"]
    counts = re.search(r"^(\d+) rows written, (\d+) rejected, (\d+) there already in ", place.said, re.MULTILINE).groups()
    rows = ROWS + len(truth.errors) + len(truth.limited) + len(truth.deployed)
    assert counts == (str(rows), str(ROWS // 5_000), "0") and len(truth.letters) == ROWS // 5_000
    assert len(re.findall(r"^\d+ rows, \d+ shown, in [\d.]+ s$", place.said, re.MULTILINE)) == 4
    assert len(truth.errors) > ROWS // 100 and len(truth.limited) == ROWS // 50 and len(truth.deployed) == ROWS // 2_000
    assert "invocations: is there, 9 rules" in place.run(printed("python3 examples/analytics/setup.py")[0])


def test_every_call_is_there_once_with_its_date_and_hour(place, truth):
    table = place.table("invocations")
    schema = table.schema()
    assert [str(schema.find_field(name).field_type) for name in ("date", "hour", "duration_ms")] == ["date", "int", "double"]
    assert [(field.name, str(field.transform)) for field in table.spec().fields] == [("date", "identity"), ("hour", "identity")]
    found = table.scan().to_arrow().combine_chunks().sort_by("invocation_id")
    assert found.num_rows == truth.calls.num_rows == ROWS
    for field in CALLS:
        assert found[field.name].cast(field.type).equals(truth.calls[field.name]), field.name
    by_hour = Counter(zip(truth.calls["date"].to_pylist(), truth.calls["hour"].to_pylist()))
    partitions = place.table("invocations").inspect.partitions().to_pylist()
    assert {(part["partition"]["date"], part["partition"]["hour"]): part["record_count"] for part in partitions} == by_hour
    assert len({day for day, _ in by_hour}) == 8 and len(by_hour) == 8 * 24
    messages = {id: text for id, text in zip(found["invocation_id"].to_pylist(), found["error_message"].to_pylist()) if text is not None}
    errors = place.table("errors").scan(selected_fields=("invocation_id", "error_message")).to_arrow().to_pylist()
    assert messages == {row["invocation_id"]: row["error_message"] for row in errors}, "both tables' rules say the same"


def test_the_other_tables_rows_are_there_once_with_their_dates(place, truth):
    for table, rows, at, masked in [
        ("errors", truth.errors, "occurred_at", []),
        ("rate_limits", truth.limited, "occurred_at", ["client_ip"]),
        ("deployments", truth.deployed, "deployed_at", []),
    ]:
        assert [field.name for field in place.table(table).spec().fields] == ["date"]
        found = place.table(table).scan().to_arrow().to_pylist()
        assert len(found) == len(rows), table
        texts = ["error_message", "stack_trace"] if table == "errors" else []
        for row in found:
            came = rows[row[next(iter(row))]]
            for column, value in row.items():
                if column == at:
                    assert value == came["at"]
                elif column in masked:
                    assert value == network(came[column])
                elif column not in texts:
                    assert value == came[column], column


def test_traces_are_cut_and_only_secrets_are_taken_out(place, truth):
    long, changed = 0, 0
    for row in place.table("errors").scan().to_arrow().to_pylist():
        came = truth.errors[row["error_id"]]
        assert len(row["stack_trace"]) <= 4096
        long += len(came["stack_trace"]) > 4096
        for column in ("error_message", "stack_trace"):
            if truth.holds_a_secret(came[column]):
                changed += 1
                # One that lies where a trace ends is cut with it.
                assert "[redacted" in row[column] or "[address" in row[column], row[column]
            else:
                assert row[column] == came[column][:4096]
    assert long > len(truth.errors) // 100 and changed > len(truth.errors) // 10


# Words as secrets are; what may be an address of either kind.
TOKEN = re.compile(r"[A-Za-z0-9.]{8,}")
ADDRESSES = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]*(?::[0-9A-Fa-f.]*){2,}")
# What bearer tokens and access keys begin with: of these no part is to be left.
BEGINNINGS = re.compile(r"eyJ[A-Za-z0-9]|A[KS]IA[A-Z2-7]")


def addresses(text):
    """Addresses in a text of which more is left than their network."""
    found = []
    for candidate in ADDRESSES.findall(text) if ":" in text or "." in text else []:
        # What ends a sentence is none of it; two colons may be.
        for form in {candidate, candidate.rstrip(":.")}:
            try:
                address = ipaddress.ip_address(form)
            except ValueError:
                continue
            if address != ipaddress.ip_address(network(str(address))):
                found.append(form)
    return found


def leaks(texts, secrets):
    for text in texts:
        if (beginning := BEGINNINGS.search(text)) or any(token in secrets for token in TOKEN.findall(text)):
            yield beginning and beginning[0], text
        if found := addresses(text):
            yield found[0], text


def strings(file):
    """The different texts of a data file, of all of its columns."""
    table = pq.read_table(file, partitioning=None)
    for name, column in zip(table.column_names, table.columns):
        assert not pa.types.is_nested(column.type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            yield from column.unique().drop_null().to_pylist()


def test_no_file_holds_a_secret_or_an_address(place, truth):
    clients = {row["client_ip"] for row in (*truth.limited.values(), *truth.letters.values())}
    assert len(truth.secrets) > ROWS // 100 and any(":" in client for client in clients)
    came = [json.dumps(row, default=str) for row in (*truth.letters.values(), *list(truth.limited.values())[:100])]
    seen = {text for _, text in leaks(came, truth.secrets)}
    assert seen == set(came), "who looks for them finds them where they are"
    total = 0
    for file in place.files():
        texts = list(strings(file))
        assert list(leaks(texts, truth.secrets)) == [], file
        assert not any(client in texts for client in clients), file
        total += len(texts)
    assert total > ROWS
    if not LONG:
        whole = "\n".join(text for file in place.files() for text in strings(file))
        assert [secret for secret in truth.secrets if secret in whole] == []


def test_what_does_not_fit_is_a_dead_letter_without_them(place, truth):
    letters = place.ask("SELECT code, raw FROM ice.analytics.invocations__rejected")
    assert {code for code, _ in letters} == {"bad_timestamp", "wrong_type", "null_in_required"}
    found = {row["invocation_id"]: row for row in (json.loads(raw) for _, raw in letters)}
    assert len(letters) == len(found) and found.keys() == truth.letters.keys()
    for id, row in found.items():
        assert row["client_ip"] == network(truth.letters[id]["client_ip"])
        assert row["error_message"] == "cannot parse: password=[redacted] for [address] with [redacted]"


def near(value):
    return pytest.approx(value, rel=1e-9)


def test_the_four_questions_are_answered(place, truth):
    answers = [json.loads(line) for line in place.run(printed("python3 examples/analytics/queries.py")[0] + " --json").splitlines()]
    print({answer["title"][:30]: round(answer["seconds"], 3) for answer in answers})
    busiest, slow, cold, limited = (answer["rows"] for answer in answers)

    ranked = sorted(truth.by_function.items(), key=lambda pair: (-pair[1], pair[0]))[:10]
    assert busiest == [[name, calls, truth.failed[name], near(truth.failed[name] / calls)] for name, calls in ranked]

    expected = []
    for (name, day), durations in sorted(truth.durations.items()):
        durations.sort()
        at = 0.95 * (len(durations) - 1)
        below, above = durations[int(at)], durations[min(int(at) + 1, len(durations) - 1)]
        expected.append([name, day, len(durations), near(below + (above - below) * (at % 1))])
    assert slow == expected

    expected = {}
    for language, both in truth.by_language.items():
        warm, calls, (of_warm, of_cold) = len(both[False]), len(both[False]) + len(both[True]), map(statistics.median, both)
        expected[language] = [calls, calls - warm, near((calls - warm) / calls), near(of_cold), near(of_warm)]
    assert {language: rest for language, *rest in cold} == expected and len(cold) == 5
    rates = [row[3] for row in cold]
    assert rates == sorted(rates, reverse=True)

    count, networks = Counter(), defaultdict(set)
    for row in truth.limited.values():
        if row["date"] > LAST_DAY - WEEK:
            hour = (str(row["date"]), row["at"].hour)
            count[hour] += 1
            networks[hour].add(network(row["client_ip"]))
    assert limited == [[*hour, count[hour], len(networks[hour])] for hour in sorted(count)]


def test_a_question_reads_only_the_files_of_its_days(place, truth):
    day_of = [file["partition"]["date"] for file in place.table("invocations").inspect.files().to_pylist()]
    database = place.server.duckdb()
    database.execute("USE ice.analytics")
    database.execute(f"SET VARIABLE last_day = DATE '{LAST_DAY}'")
    text = (EXAMPLE / "queries.sql").read_text()
    first = next(sql for sql in text.split(";\n") if sql.lstrip().startswith("-- 1."))
    for sql, days in [(first, 7), (first.replace("- 7", "- 1"), 1)]:
        account = database.execute(f"EXPLAIN ANALYZE {sql}").fetchone()[1]
        read = int(re.search(r"Total Files Read: (\d+)", account)[1])
        assert read == sum(day > LAST_DAY - timedelta(days) for day in day_of) < len(day_of)


def test_other_ways_in(tmp_path):
    place = Place(tmp_path)
    place.run(printed("python3 examples/analytics/setup.py")[0])
    # In several bodies, and then all of them once more.
    push = f"{printed('python3 examples/analytics/generate.py --push')[0]} --rows 4000 --days 2 --bad 500 --body-bytes 400000 --parallel 3"
    made = re.match(r"(\d+) rows written, 8 rejected, 0 there already .* (\d+) bodies ", place.run(push))
    assert int(made[1]) > 4_000 and int(made[2]) > 3
    again = re.match(r"0 rows written, 0 rejected, (\d+) there already ", place.run(push))
    assert int(again[1]) == int(made[1]) + 8
    expected = 4_000
    assert place.ask("SELECT count(*), count(DISTINCT invocation_id) FROM ice.analytics.invocations") == [(expected, expected)]
    ways = printed("python3 examples/analytics/generate.py --rows")
    assert len(ways) == 3
    for command in ways:
        place.run(command)
        expected += 5_000
        assert place.ask("SELECT count(*), count(DISTINCT invocation_id) FROM ice.analytics.invocations") == [(expected, expected)], command
    assert place.ask("SELECT count(*) FROM ice.analytics.rate_limits") == [(80 + 2 * 100,)]
    tried, = printed("curl")
    assert json.loads(place.run(tried))["rows"][0]["row"] == {
        "started_at": "2026-01-31T23:30:00-03:00",
        "client_ip": "100.64.1.0",
        "error_message": "password=[redacted]",
        "date": "2026-02-01",
        "hour": 2,
    }
    assert place.server.stop() == 0, "a stop is clean"
