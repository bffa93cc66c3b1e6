"""Scan planning by the server, against what PyIceberg plans itself, what is in the files, and what real engines read by it."""

import json
import random
import struct
from collections import Counter
from datetime import date, datetime, timezone
from decimal import Decimal

import pyarrow as pa
import pyiceberg.expressions as E
import pytest
import requests
from pydantic import ValidationError
from pyiceberg.avro.decoder import StreamingBinaryDecoder
from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import BooleanExpression
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.transforms import DayTransform, IdentityTransform, TruncateTransform
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, UUIDType

import filters
import random_tables
from conftest import LONG, duckdb_with_extensions
from planning import Planner, path, plans_answered


@pytest.fixture(autouse=True)
def exact_doubles(monkeypatch):
    """PyIceberg's fast reader of Avro rounds doubles to floats, and rules files out by them that hold what is looked for."""
    monkeypatch.setattr("pyiceberg.avro.file.new_decoder", StreamingBinaryDecoder)


class Grown:
    """A table with a life behind it: appends, deletes, changes of its schema and of its partitions."""

    def __init__(self, rng, catalog, name, appends):
        self.table = catalog.create_table(name, random_tables.random_schema(rng), partition_spec=PartitionSpec())
        self.read, self.listed = {}, {}
        for at in range(appends):
            if rng.random() < 0.4:
                random_tables.evolve_spec(rng, self.table)
            if at and rng.random() < 0.3:
                random_tables.evolve_schema(rng, self.table)
            self.table.append(random_tables.random_rows(rng, self.table, rng.randint(1, 6)))
            if rng.random() < 0.2:
                self.table.delete(f"id {rng.choice(['==', '<', '>'])} {random_tables.value_of(LongType(), rng.choice(random_tables.NUMBERS))}")
        self.columns = random_tables.columns_of(self.table.schema())

    def files(self, snapshot):
        if snapshot not in self.listed:
            self.listed[snapshot] = {task.file.file_path: task.file for task in self.table.scan(snapshot_id=snapshot).plan_files()}
        return self.listed[snapshot]

    def rows(self, path):
        if path not in self.read:
            self.read[path] = random_tables.rows_of(path)
        return self.read[path]


SEEDS = [random.randrange(10**6) for _ in range(50)] if LONG else range(8)
FILTERS = 100 if LONG else 40


@pytest.mark.filterwarnings("ignore:Delete operation did not match any records")
@pytest.mark.parametrize("seed", SEEDS)
def test_plans_agree_with_pyiceberg_and_with_the_files(local_lake, seed):
    rng = random.Random(seed)
    catalog = local_lake.pyiceberg()
    catalog.create_namespace(f"grown_{seed}")
    grown = Grown(rng, catalog, f"grown_{seed}.t", appends=16 if LONG else 10)
    planner = Planner(local_lake.url, f"grown_{seed}")
    files, tasks = grown.files(None), planner.tasks()
    assert {path(task) for task in tasks} == files.keys(), f"seed {seed}"
    for task in tasks:
        file = task["data-file"]
        own = files[file["file-path"]]
        said = [file["spec-id"], file["partition"], file["record-count"], file["file-size-in-bytes"], file["file-format"], file.get("split-offsets")]
        known = [own.spec_id, random_tables.partition_json(grown.table, own), own.record_count, own.file_size_in_bytes, "parquet", own.split_offsets]
        assert said == known, f"seed {seed}: {file}"
        assert task["residual-filter"] is True and "delete-file-references" not in task, f"seed {seed}: {task}"
    outcomes = Counter(check(rng, grown, planner, f"seed {seed}, filter {number}") for number in range(FILTERS))
    assert outcomes["equal"] > outcomes["fewer"] * 4, f"seed {seed}: {outcomes}"


def check(rng, grown, planner, what):
    """Holds the plan of a random filter against the files and against PyIceberg's plan; says how it stands to the latter."""
    tree = filters.random_filter(rng, grown.columns)
    snapshot = None if rng.random() < 0.8 else rng.choice(grown.table.snapshots()).snapshot_id
    tests = filters.tests_of(tree)
    kinds = {test.column.kind for test in tests}
    readings = {filters.pushed_down(tree), filters.pushed_down(filters.rounded(tree))}
    # PyIceberg has no tests of transforms, and rounds no floats.
    comparable = len(readings) == 1 and not any(test.transform for test in tests)
    grammars = {"old": lambda: filters.old_json(tree)}
    if not any(test.transform for test in tests):
        grammars["new"] = lambda: filters.new_json(tree, rng)
        grammars["its own"] = lambda: json.loads(filters.expression(tree).model_dump_json())
    filter = grammars[rng.choice(list(grammars))]()
    what = f"{what} of {snapshot}: {json.dumps(filter)}"
    tasks = planner.tasks(filter=filter, **({"snapshot_id": snapshot} if snapshot else {}))
    planned, files = {path(task) for task in tasks}, grown.files(snapshot)
    needed = {path for path in files if any(filters.matches(reading, row) for reading in readings for row in grown.rows(path))}
    assert needed <= planned <= files.keys(), f"{what}: not planned, though rows match: {needed - planned}"
    for task in tasks:
        residual = filters.parse(task["residual-filter"], grown.columns)
        for left, whole in [(residual, tree), (filters.rounded(residual), filters.rounded(tree))]:
            left, whole = filters.pushed_down(left), filters.pushed_down(whole)
            for row in grown.rows(path(task)):
                assert filters.matches(left, row) == filters.matches(whole, row), f"{what}: left is {task['residual-filter']}, not for {row}"
        if comparable:
            BooleanExpression.model_validate(task["residual-filter"])
    if not comparable:
        return "not comparable"
    # Without its residuals, which it cannot make of partitions that are null.
    scan = grown.table.scan(row_filter=filters.expression(tree), snapshot_id=snapshot)
    own = {entry.data_file.file_path for entries in scan._plan_manifest_entries() for entry in entries}
    # UUIDs are planned by both orders that writers have had, and bounds in one of them say less.
    if UUIDType() not in kinds:
        assert planned <= own, f"{what}: planned, though PyIceberg rules them out: {planned - own}"
    if own - planned:
        assert filters.knows_more(tree), f"{what}: not planned, though PyIceberg does: {own - planned}"
    return "equal" if planned == own else "fewer" if planned < own else "more"


# Scans of one table, by hand: thirty rows in three files, one for each append, and a column that was renamed before the last.


class Ten:
    """Three appends of ten rows each; `name` became `label` before the third."""

    def __init__(self, lake, namespace):
        self.lake, self.catalog = lake, lake.pyiceberg()
        self.table = self.catalog.create_table(f"{namespace}.t", pa.schema([("id", pa.int64()), ("name", pa.string()), ("day", pa.date32())]))
        self.planner = Planner(lake.url, namespace)
        self.snapshots, self.paths = [], []
        for start in (0, 10):
            self.append(start, "name")
        with self.table.update_schema() as update:
            update.rename_column("name", "label")
        self.append(20, "label")

    def append(self, start, text):
        ids, day = range(start, start + 10), [date(2024, 1, 1 + start // 10)] * 10
        before = self.planner.paths()
        self.table.append(pa.table({"id": list(ids), text: [f"n{id:02}" for id in ids], "day": day}))
        self.snapshots.append(self.table.current_snapshot().snapshot_id)
        (path,) = self.planner.paths() - before
        self.paths.append(path)

    def planned(self, **body):
        """Which of the files, by number, and what is left of the filter, if that is the same for all."""
        tasks = self.planner.tasks(**body)
        left = {json.dumps(task["residual-filter"]) for task in tasks}
        return sorted(self.paths.index(path(task)) for task in tasks), *map(json.loads, left)


@pytest.fixture
def ten(lake, namespace):
    return Ten(lake, namespace)


def leaf(operation, term, *literals):
    return {"type": operation, "term": term, **({"value": literals[0]} if literals else {})}


def test_a_table_without_snapshots_has_no_files(lake, namespace):
    lake.pyiceberg().create_table(f"{namespace}.t", pa.schema([("id", pa.int64())]))
    planner = Planner(lake.url, namespace)
    plan = planner.plan(filter=leaf("eq", "id", 1))
    assert plan["file-scan-tasks"] == [] and plan["plan-tasks"] == []
    again = requests.get(f"{planner.url}/plan/{plan['plan-id']}", timeout=10)
    assert again.status_code == 200 and again.json()["status"] == "completed"
    assert requests.delete(f"{planner.url}/plan/{plan['plan-id']}", timeout=10).status_code == 204


def test_scans_of_old_snapshots(ten):
    first, second, third = ten.snapshots
    assert ten.planned() == ([0, 1, 2], True)
    assert ten.planned(snapshot_id=third) == ([0, 1, 2], True)
    assert ten.planned(snapshot_id=second) == ([0, 1], True)
    assert ten.planned(snapshot_id=first) == ([0], True)
    assert ten.planned(snapshot_id=second, filter=leaf("gt", "id", 15)) == ([1], leaf("gt", "id", 15))
    # By default names are those of now, whatever the snapshot; if asked for, those of then.
    new, old = leaf("eq", "label", "n12"), leaf("eq", "name", "n12")
    assert ten.planned(filter=new) == ([1], new)
    assert ten.planned(snapshot_id=second, filter=new) == ([1], new)
    assert ten.planned(snapshot_id=second, use_snapshot_schema=True, filter=old) == ([1], old)
    assert ten.planned(snapshot_id=second, use_snapshot_schema=False, filter=old) == ([0, 1], old), "a name not known widens"
    assert ten.planned(snapshot_id=second, use_snapshot_schema=True, filter=new) == ([0, 1], new)
    assert ten.planned(snapshot_id=second, use_snapshot_schema=True, select=["name"]) == ([0, 1], True)
    # Spark selects the columns of now also where it asks for those of then.
    assert ten.planned(snapshot_id=second, use_snapshot_schema=True, select=["label"]) == ([0, 1], True)
    assert ten.planner.ask(snapshot_id=second, use_snapshot_schema=True, select=["neither"]).status_code == 400
    assert ten.planner.ask(snapshot_id=second, select=["name"]).status_code == 400


def test_scans_of_what_was_appended(ten):
    first, second, third = ten.snapshots
    ten.table.delete("id in (11, 25)")
    ten.append(30, "label")
    last = ten.snapshots[3]
    between = lambda start, end, **more: ten.planned(start_snapshot_id=start, end_snapshot_id=end, **more)
    assert between(first, third) == ([1, 2], True), "not what the first appended"
    # Files are read as they were appended, also those that a delete has since written again; what it wrote is not read.
    for start, end in [(first, last), (second, last), (third, last), (first, second)]:
        own = ten.table.incremental_append_scan(from_snapshot_id_exclusive=start, to_snapshot_id_inclusive=end).plan_files()
        assert between(start, end)[0] == sorted(ten.paths.index(task.file.file_path) for task in own)
    assert between(first, last) == ([1, 2, 3], True)
    assert between(first, last, filter=leaf("lt", "id", 25)) == ([1, 2], leaf("lt", "id", 25))
    deleted = ten.table.snapshots()[3].snapshot_id
    assert between(third, deleted) == ([],), "a delete appends nothing"
    for wrong in [
        {"start_snapshot_id": first}, {"end_snapshot_id": first}, {"snapshot_id": third, "end_snapshot_id": third},
        {"start_snapshot_id": first, "end_snapshot_id": third, "snapshot_id": third}, {"snapshot_id": third, "start_snapshot_id": first},
    ]:
        refused(ten.planner.ask(**wrong), 400, "BadRequestException")
    for gone in [
        {"snapshot_id": 1}, {"start_snapshot_id": 1, "end_snapshot_id": third}, {"start_snapshot_id": first, "end_snapshot_id": 1},
        {"start_snapshot_id": third, "end_snapshot_id": first},
    ]:
        refused(ten.planner.ask(**gone), 400, "ValidationException")


def refused(answer, status, kind):
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (status, status, kind), answer.text


def test_names_in_any_case(ten):
    upper = leaf("eq", "ID", 12)
    assert ten.planned(filter=upper) == ([0, 1, 2], upper), "no such column: anything may match"
    assert ten.planned(filter=upper, case_sensitive=True) == ([0, 1, 2], upper)
    assert ten.planned(filter=upper, case_sensitive=False) == ([1], leaf("eq", "id", 12))
    assert ten.planned(select=["LABEL"], case_sensitive=False) == ([0, 1, 2], True)
    assert ten.planner.ask(select=["LABEL"]).status_code == 400
    assert [sorted(task["data-file"]["lower-bounds"]["keys"]) for task in ten.planner.tasks(stats_fields=["Id"], case_sensitive=False)] == [[1]] * 3


def test_statistics_are_those_asked_for(ten):
    names = {
        "value-counts": "value_counts", "null-value-counts": "null_value_counts", "column-sizes": "column_sizes",
        "lower-bounds": "lower_bounds", "upper-bounds": "upper_bounds",
    }
    own = {task.file.file_path: task.file for task in ten.table.scan().plan_files()}
    for task in ten.planner.tasks():
        assert not names.keys() & task["data-file"].keys()
    for fields, ids in [(["id"], [1]), (["day", "label"], [2, 3]), (["id", "id"], [1])]:
        for task in ten.planner.tasks(stats_fields=fields):
            for name, attribute in names.items():
                said, known = task["data-file"][name], getattr(own[path(task)], attribute)
                said = dict(zip(said["keys"], said["values"], strict=True))
                # Bounds are the digits of their bytes: all clients read that.
                assert said == {id: value.hex().upper() if isinstance(value, bytes) else value for id, value in known.items() if id in ids}
    refused(ten.planner.ask(stats_fields=["gone"]), 400, "ValidationException")


def test_no_more_files_than_there_are_rows_wanted(ten):
    assert len(ten.planned(min_rows_requested=1)[0]) == 1
    assert len(ten.planned(min_rows_requested=11)[0]) == 2
    assert ten.planned(min_rows_requested=1000)[0] == [0, 1, 2]
    # How many rows of a file match is not known, so that none of the files can be left out.
    assert ten.planned(min_rows_requested=1, filter=leaf("not-eq", "label", "n05"))[0] == [0, 1, 2]
    refused(ten.planner.ask(min_rows_requested=-1), 400, "BadRequestException")


def test_what_cannot_be_bound_widens_and_comes_back(ten):
    reference = {"type": "reference", "name": "id"}
    for filter in [
        {"type": "eq", "left": {"type": "apply", "function": "f", "arguments": [reference]}, "right": 5},
        {"type": "st-intersects", "term": "id", "value": "POINT (0 0)"},
        {"type": "eq", "left": reference, "right": {"type": "reference", "name": "label"}},
    ]:
        assert ten.planned(filter=filter) == ([0, 1, 2], filter)
        # What is next to it still rules files out, and under a negation it may be anything too.
        both = {"type": "and", "left": leaf("lt", "id", 5), "right": filter}
        assert ten.planned(filter=both) == ([0], both)
        assert ten.planned(filter={"type": "or", "left": leaf("lt", "id", 5), "right": filter})[0] == [0, 1, 2]
        assert ten.planned(filter={"type": "not", "child": filter})[0] == [0, 1, 2]
    for filter in [
        leaf("eq", "id", "text"), leaf("eq", "id", 5.5), leaf("eq", "id", True), leaf("eq", "label", 5), leaf("lt", "day", "yesterday"),
        leaf("is-null", "gone"), leaf("is-nan", "id"), leaf("starts-with", "id", "1"), {"type": "in", "term": "id", "values": [1, "text"]},
        leaf("eq", {"type": "transform", "transform": "year", "term": "label"}, 1), leaf("eq", "id", 2**63),
    ]:
        assert ten.planned(filter=filter) == ([0, 1, 2], filter), filter


def test_filters_without_a_form_are_refused(ten):
    for filter in [
        5, "id = 5", [], {}, {"type": 5}, {"type": "eq"}, {"type": "eq", "term": "id"}, {"type": "eq", "value": 5}, {"type": "and", "left": True},
        {"type": "or", "right": True}, {"type": "not"}, {"type": "in", "term": "id", "values": 5}, {"type": "in", "term": "id"},
        {"type": "not", "child": 5}, {"type": "eq", "term": None, "value": 5},
    ]:
        refused(ten.planner.ask(filter=filter), 400, "BadRequestException")
    refused(ten.planner.http.post(f"{ten.planner.url}/plan", data="{", headers={"content-type": "application/json"}, timeout=10), 400, "BadRequestException")
    deep = json.loads('{"type": "not", "child": ' * 600 + "true" + "}" * 600)
    refused(ten.planner.ask(filter=deep), 400, "BadRequestException")


def test_plans_are_fetched_again_and_ended(ten):
    planner, other = ten.planner, ten.catalog.create_table((ten.table.name()[0], "other"), ten.table.schema())
    plan = planner.plan(filter=leaf("not-eq", "id", 15), stats_fields=["id"])
    address = f"{planner.url}/plan/{plan['plan-id']}"
    for _ in range(2):
        again = planner.http.get(address, timeout=10).json()
        assert again["status"] == "completed" and again["file-scan-tasks"] == plan["file-scan-tasks"] and len(again["file-scan-tasks"]) == 3
    # What was planned is what is fetched, also when the table has gone on.
    ten.append(30, "label")
    assert planner.http.get(address, timeout=10).json()["file-scan-tasks"] == plan["file-scan-tasks"]
    for _ in range(2):
        assert planner.http.delete(address, timeout=10).status_code == 204
    other_address = address.replace("/t/", "/other/")
    other.append(pa.table({"id": [1], "label": ["x"], "day": [date(2024, 1, 1)]}))
    refused(planner.http.get(other_address, timeout=10), 404, "NoSuchPlanIdException")
    refused(planner.http.get(f"{planner.url}/plan/none", timeout=10), 404, "NoSuchPlanIdException")
    refused(planner.http.delete(f"{planner.url}/plan/none", timeout=10), 404, "NoSuchPlanIdException")
    refused(planner.ask("tasks", plan_task="none"), 404, "NoSuchPlanTaskException")
    gone = Planner(ten.lake.url, ten.table.name()[0], "gone")
    refused(gone.ask(), 404, "NoSuchTableException")
    refused(gone.ask("tasks", plan_task="none"), 404, "NoSuchTableException")
    refused(gone.http.get(address.replace("/t/", "/gone/"), timeout=10), 404, "NoSuchTableException")
    refused(gone.http.delete(address.replace("/t/", "/gone/"), timeout=10), 404, "NoSuchTableException")
    refused(Planner(ten.lake.url, "nowhere").ask(), 404, "NoSuchTableException")
    # The id of a long question is short, and as good for ending it.
    many = {"type": "in", "term": "id", "values": list(range(3000))}
    long = planner.plan(filter=many)["plan-id"]
    assert len(long) < 100 and planner.http.delete(f"{planner.url}/plan/{long}", timeout=10).status_code == 204


def test_a_plan_of_more_files_than_one_answer_holds(lake, namespace):
    table = lake.pyiceberg().create_table(f"{namespace}.many", pa.schema([("id", pa.int64())]))
    # Their names are enough for a plan: they hold the numbers from ten times their own on.
    added = 0
    for count in (100, 7000, 1, 6000):
        with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
            for number in range(added, added + count):
                low, high = (struct.pack("<q", value) for value in (number * 10, number * 10 + 9))
                append.append_data_file(DataFile.from_args(
                    content=DataFileContent.DATA, file_path=f"{table.location()}/data/{number}.parquet", file_format=FileFormat.PARQUET,
                    partition=Record(), record_count=10, file_size_in_bytes=100, column_sizes={}, value_counts={1: 10},
                    null_value_counts={1: 0}, nan_value_counts={}, lower_bounds={1: low}, upper_bounds={1: high}, split_offsets=[4],
                ))
        added += count
    planner = Planner(lake.url, namespace, "many")
    numbers = lambda **body: sorted(int(path.rsplit("/", 1)[1].removesuffix(".parquet")) for path in planner.paths(**body))
    plan = planner.plan()
    assert plan["plan-tasks"] and len(plan["file-scan-tasks"]) < added
    assert numbers() == list(range(added))
    assert numbers(filter=leaf("gt-eq", "id", 65_005)) == list(range(6500, added))
    assert numbers(filter={"type": "in", "term": "id", "values": [5, 70_999, 71_000, 131_009, 131_010]}) == [0, 7099, 7100, 13_100]
    task = plan["plan-tasks"][0]
    once, twice = planner.ask("tasks", plan_task=task).json(), planner.ask("tasks", plan_task=task).json()
    assert once["file-scan-tasks"] == twice["file-scan-tasks"] != []
    # A task is good for its table, while that has the snapshot.
    for name in ("other", "many"):
        if name == "many":
            lake.pyiceberg().drop_table(f"{namespace}.many")
        lake.pyiceberg().create_table(f"{namespace}.{name}", pa.schema([("id", pa.int64())])).append(pa.table({"id": [1]}))
        refused(Planner(lake.url, namespace, name).ask("tasks", plan_task=task), 404, "NoSuchPlanTaskException")


def test_a_plan_ends_with_its_snapshot(ten):
    address = f"{ten.planner.url}/plan/{ten.planner.plan(snapshot_id=ten.snapshots[0])['plan-id']}"
    assert requests.get(address, timeout=10).status_code == 200
    ten.table.maintenance.expire_snapshots().by_id(ten.snapshots[0]).commit()
    refused(requests.get(address, timeout=10), 404, "NoSuchPlanIdException")
    refused(ten.planner.ask(snapshot_id=ten.snapshots[0]), 400, "ValidationException")
    assert requests.delete(address, timeout=10).status_code == 204


# What the random tables showed, by hand.

one_store = pytest.mark.parametrize("lake", ["local"], indirect=True)


@one_store
def test_literals_are_read_to_the_last_digit(lake, namespace):
    reals = [-1.4000000000000001, -1.7000000000000002, 0.30000000000000004, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308]
    table = lake.pyiceberg().create_table(f"{namespace}.t", pa.schema([("x", pa.float64())]))
    for value in reals:
        table.append(pa.table({"x": [value]}))
    planner = Planner(lake.url, namespace)
    found = {value: [task["residual-filter"] for task in planner.tasks(filter=leaf("eq", "x", value))] for value in reals}
    assert found == {value: [leaf("eq", "x", value)] for value in reals}


@one_store
def test_decimals_as_numbers(lake, namespace):
    """The specification has decimals as texts; who writes a number gets no fewer files than match."""
    values = [Decimal("12345678901234567.89"), Decimal("0.10"), Decimal("-99999999999999999999.99")]
    table = lake.pyiceberg().create_table(f"{namespace}.t", pa.schema([("x", pa.decimal128(38, 2))]))
    for value in values:
        table.append(pa.table({"x": pa.array([value], pa.decimal128(38, 2))}))
    planner = Planner(lake.url, namespace)
    for value in values:
        (text,) = planner.paths(filter=leaf("eq", "x", str(value)))
        body = f'{{"filter": {{"type": "eq", "term": "x", "value": {value}}}}}'
        answer = planner.http.post(f"{planner.url}/plan", data=body, headers={"content-type": "application/json"}, timeout=10)
        assert text in {path(task) for task in answer.json()["file-scan-tasks"]}, body


@one_store
def test_moments_as_pyiceberg_writes_them(lake, namespace):
    """In UTC, without saying so."""
    table = lake.pyiceberg().create_table(f"{namespace}.t", pa.schema([("at", pa.timestamp("us", tz="UTC"))]))
    for day in (1, 2, 3):
        table.append(pa.table({"at": pa.array([datetime(2024, 1, day, tzinfo=timezone.utc)], pa.timestamp("us", tz="UTC"))}))
    written = json.loads(E.EqualTo("at", datetime(2024, 1, 2, tzinfo=timezone.utc)).model_dump_json())
    assert written["value"] == "2024-01-02T00:00:00"
    planner = Planner(lake.url, namespace)
    assert planner.paths(filter=written) == planner.paths(filter={**written, "value": "2024-01-02T00:00:00+00:00"})


@one_store
def test_all_null_is_not_nan(lake, namespace):
    table = lake.pyiceberg().create_table(f"{namespace}.t", pa.schema([("x", pa.float64()), ("y", pa.int64())]))
    table.append(pa.table({"x": pa.array([None, None], pa.float64()), "y": [1, 2]}))
    planner = Planner(lake.url, namespace)
    assert planner.tasks(filter=leaf("is-null", "x")) and not planner.tasks(filter=leaf("is-nan", "x"))


@one_store
def test_numbers_cut_to_less_than_the_least(lake, namespace):
    """Every client's truncation of the least numbers goes round to the greatest; the rows are still there."""
    catalog = lake.pyiceberg()
    for name, kind, least in [("i", pa.int32(), -(2**31)), ("l", pa.int64(), -(2**63))]:
        table = catalog.create_table(f"{namespace}.{name}", pa.schema([("x", kind)]))
        with table.update_spec() as update:
            update.add_field("x", TruncateTransform(5), "cut")
        table.append(pa.table({"x": pa.array([least], kind)}))
        planner = Planner(lake.url, namespace, name)
        for filter in [leaf("eq", "x", least), leaf("lt", "x", 0), leaf("lt-eq", "x", least)]:
            assert len(planner.tasks(filter=filter)) == 1, (name, filter)


# Real clients.


def test_pyiceberg_reads_what_the_server_plans(lake, namespace):
    own = lake.pyiceberg()
    served = load_catalog("served", type="rest", **{**lake.client_settings(), "scan-planning-mode": "server"})
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("moment", pa.timestamp("us", tz="UTC")), ("price", pa.decimal128(9, 2))])
    table = own.create_table(f"{namespace}.t", schema=schema)
    for start in range(0, 60, 10):
        if start == 30:
            with table.update_spec() as update:
                update.add_field("moment", DayTransform(), "day")
        if start == 40:
            with table.update_schema() as update:
                update.rename_column("name", "label")
        rows = [(id, f"n{id}", datetime(2024, 1, 1 + id // 7, tzinfo=timezone.utc), Decimal(id).scaleb(-1)) for id in range(start, start + 10)]
        names = [field.name for field in table.schema().fields]
        table.append(pa.table([pa.array(column, field.type) for column, field in zip(zip(*rows), schema)], names=names))
    table.delete("id in (3, 33)")
    moment = datetime(2024, 1, 5, tzinfo=timezone.utc)
    filters = [
        E.AlwaysTrue(), E.EqualTo("id", 42), E.And(E.GreaterThan("id", 5), E.NotEqualTo("label", "n7")), E.In("label", {"n1", "n59"}),
        E.GreaterThanOrEqual("moment", moment), E.Or(E.LessThan("price", Decimal("0.30")), E.StartsWith("label", "n5")), E.IsNull("label"),
        E.Not(E.Or(E.LessThan("id", 10), E.LessThan("moment", moment))), "label = 'n12'",
    ]
    for filter in filters:
        before = plans_answered(lake)
        scan, own_scan = (one.load_table(f"{namespace}.t").scan(row_filter=filter) for one in (served, own))
        read = sorted(scan.to_arrow()["id"].to_pylist())
        assert plans_answered(lake) == before + 1, "the server planned"
        assert read == sorted(own_scan.to_arrow()["id"].to_pylist()), filter
        assert scan.count() == len(read), filter
        if "moment" not in str(filter):
            assert {task.file.file_path for task in scan.plan_files()} == {task.file.file_path for task in own_scan.plan_files()}, filter
    first = table.snapshots()[0].snapshot_id
    assert sorted(served.load_table(f"{namespace}.t").scan(snapshot_id=first).to_arrow()["id"].to_pylist()) == list(range(10))


@one_store
def test_pyiceberg_reads_no_partition_that_is_null_by_the_plan_of_a_server(lake, namespace):
    """To be told when it does: the specification has null there, and this version's model of an answer has not."""
    table = lake.pyiceberg().create_table(f"{namespace}.t", pa.schema([("x", pa.int64())]))
    with table.update_spec() as update:
        update.add_field("x", IdentityTransform(), "same")
    table.append(pa.table({"x": pa.array([None, 1], pa.int64())}))
    assert sorted(json.dumps(task["data-file"]["partition"]) for task in Planner(lake.url, namespace).tasks()) == ["[1]", "[null]"]
    served = load_catalog("served", type="rest", **{**lake.client_settings(), "scan-planning-mode": "server"}).load_table(f"{namespace}.t")
    assert served.scan(row_filter="x = 1").to_arrow().to_pylist() == [{"x": 1}]
    with pytest.raises(ValidationError, match="partition"):
        served.scan().to_arrow()


def test_duckdb_has_no_scans_planned_by_the_server():
    """To be told when it has: this version does not know the setting, and never asks for a plan."""
    settings = duckdb_with_extensions().execute("SELECT name FROM duckdb_settings() WHERE name LIKE '%scan_planning%'").fetchall()
    assert settings == []
