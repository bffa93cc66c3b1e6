"""Random tables and filters for the tests of scan planning, and what a filter means, row by row.

A filter is a tree: `True`, `False`, `("and" | "or", left, right)`, `("not", child)` or `Test`. It is written in each grammar
that clients have, evaluated over rows as they stand in the files, and handed to PyIceberg as its own expression.
Which values match is what Iceberg's clients agree on: nothing but `is-null` and the tests for something else
(`not-eq`, `not-in`, `not-starts-with`, `not-nan`) matches null; no range matches NaN.
"""

import json
import math
import struct
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pyiceberg.expressions as E
import requests
from pyiceberg.conversions import to_json
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    BucketTransform, DayTransform, HourTransform, IdentityTransform, MonthTransform, TruncateTransform, YearTransform, parse_transform,
)
from pyiceberg.types import (
    BinaryType, BooleanType, DateType, DecimalType, DoubleType, FixedType, FloatType, IntegerType, LongType, NestedField, StringType,
    StructType, TimestampType, TimestamptzType, TimeType, UUIDType,
)

KINDS = [
    BooleanType(), IntegerType(), LongType(), FloatType(), DoubleType(), DecimalType(9, 2), DateType(), TimeType(), TimestampType(),
    TimestamptzType(), StringType(), UUIDType(), FixedType(4), BinaryType(),
]
WIDER = {IntegerType(): LongType(), FloatType(): DoubleType(), DecimalType(9, 2): DecimalType(18, 2)}
UNITS = [YearTransform(), MonthTransform(), DayTransform(), HourTransform()]

# Values of a type are numbered, in order, so that filters and rows meet.
NUMBERS = range(41)
MIDDLE = 20
TEXTS = sorted(
    ["", " ", "A", "a", "ab", "abc", "abd", "b", "ba", "ÿ", "é", "éa", "ｚ", "\U0001f9ca", "\U0001f9ca\U0001f9cab", "z" * 16, "z" * 17]
    + ["z" * 40 + "1", "prefix that is long", "prefix that is long, first", "prefix that is long, second", "\uffff", "~"]
    + [chr(ord("a") + at) * 3 for at in range(18)]
)
BYTES = sorted([bytes([at * 6]) * 2 for at in range(36)] + [b"", b"\x00", b"\xff", b"\xff" * 16, b"\xff" * 20])
assert len(TEXTS) == len(BYTES) == len(NUMBERS)


def value_of(kind, number):
    """The value of a type with this number."""
    off = number - MIDDLE
    # Not the least of all: cut to a multiple it is beyond the least, and has a test of its own.
    edge = {0: 0, 40: -1}.get(number)
    moment = timedelta(days=off // 4 * 100, hours=off % 4 * 7, microseconds=off % 3)
    match kind:
        case BooleanType():
            return off >= 0
        case IntegerType():
            return [-(2**31) + 8, 2**31 - 1][edge] if edge is not None else off * 3
        case LongType():
            return [-(2**63) + 8, 2**63 - 1][edge] if edge is not None else off * 5
        case FloatType():
            return off * 0.5
        case DoubleType():
            return off * 0.1
        case DecimalType():
            return Decimal(off * 37).scaleb(-kind.scale)
        case DateType():
            return date(1970, 1, 1) + timedelta(days=off * 45)
        case TimeType():
            return time(number // 2, number % 2 * 30, 0, number)
        case TimestampType():
            return datetime(1970, 1, 1) + moment
        case TimestamptzType():
            return datetime(1970, 1, 1, tzinfo=timezone.utc) + moment
        case StringType():
            return TEXTS[number]
        case UUIDType():
            return uuid.UUID(int=number << 122 | number)
        case FixedType():
            return struct.pack(">I", number * 100_000_000)
        case BinaryType():
            return BYTES[number]
    raise AssertionError(kind)


class Column(NamedTuple):
    """A column that is not a struct."""

    id: int
    name: str
    kind: object


def columns_of(schema):
    """The columns of a schema that are not structs, nested ones by their full names."""
    found = []
    for id in sorted(schema.field_ids):
        field = schema.find_field(id)
        if not isinstance(field.field_type, StructType):
            found.append(Column(id, schema.find_column_name(id), field.field_type))
    return found


# Tables.


def random_schema(rng):
    kinds = rng.sample(KINDS, rng.randint(4, 7))
    fields = [NestedField(1, "id", LongType(), required=False)]
    fields += [NestedField(10 + at, f"c{at}", kind, required=False) for at, kind in enumerate(kinds)]
    inner = StructType(NestedField(31, "x", rng.choice(KINDS), required=False))
    parts = [NestedField(21, "a", rng.choice(KINDS), required=False), NestedField(22, "in", inner, required=False)]
    return Schema(*fields, NestedField(20, "s", StructType(*parts), required=False))


def random_transform(rng, kind):
    width = 5 if isinstance(kind, (IntegerType, LongType, DecimalType)) else 2
    many = [IdentityTransform(), BucketTransform(3), TruncateTransform(width), *UNITS]
    return rng.choice([one for one in many if one.can_transform(kind)])


def may_be_nan(id):
    """Half of the columns: PyIceberg cannot write a partition that is NaN."""
    return id % 2 == 0


def can_be_written(column, transform):
    """Whether PyIceberg can write partitions made of a column by this transform."""
    if isinstance(column.kind, (FloatType, DoubleType)):
        return not may_be_nan(column.id)
    return column.kind != TimeType() and (column.kind, transform) not in [(UUIDType(), IdentityTransform()), (BinaryType(), TruncateTransform(2))]


def evolve_spec(rng, table):
    """Adds a partition field or removes one."""
    fields = table.spec().fields
    if fields and rng.random() < 0.4:
        with table.update_spec() as update:
            update.remove_field(rng.choice(fields).name)
        return
    # PyIceberg takes a second field of a column for redundant.
    taken = {field.source_id for field in fields}
    column = rng.choice([column for column in columns_of(table.schema()) if "." not in column.name])
    transform = random_transform(rng, column.kind)
    if column.id in taken or not can_be_written(column, transform):
        return
    with table.update_spec() as update:
        # Names of fields of old specs are taken too.
        update.add_field(column.name, transform, f"p{len(table.specs())}")


def evolve_schema(rng, table):
    """Renames, drops, adds or widens a column."""
    columns = [column for column in columns_of(table.schema()) if column.id != 1]
    used = {field.source_id for spec in table.specs().values() for field in spec.fields}
    column = rng.choice(columns)
    wider = [column for column in columns if column.kind in WIDER]
    with table.update_schema() as update:
        match rng.choice(["rename", "drop", "add", "widen"]):
            case "rename":
                update.rename_column(tuple(column.name.split(".")), f"r{rng.randrange(10**6)}")
            case "drop" if column.id not in used and "." not in column.name and len(columns) > 3:
                update.delete_column(column.name)
            case "widen" if wider:
                column = rng.choice(wider)
                update.update_column(tuple(column.name.split(".")), WIDER[column.kind])
            case _:
                update.add_column(f"n{rng.randrange(10**6)}", rng.choice(KINDS))


def random_values(rng, kind, count, nan=True):
    """Values of one column in one append: near each other, or all the same, some or all of them null or NaN."""
    middle, spread = rng.choice(NUMBERS), rng.choice([0, 0, 1, 3, 10])
    nulls, nans = rng.choice([0, 0, 0, 0.3, 1]), rng.choice([0, 0, 0.3, 1]) if nan else 0
    values = []
    for _ in range(count):
        value = value_of(kind, min(max(middle + rng.randint(-spread, spread), NUMBERS[0]), NUMBERS[-1]))
        if isinstance(kind, (FloatType, DoubleType)):
            special = [math.nan] if rng.random() < nans else [math.inf, -math.inf, -0.0] if rng.random() < 0.1 else [value]
            value = rng.choice(special)
        values.append(None if rng.random() < nulls else value)
    return values


def random_struct(rng, fields, count):
    columns = {}
    for field in fields:
        if isinstance(field.field_type, StructType):
            inner = random_struct(rng, field.field_type.fields, count)
            columns[field.name] = [None if rng.random() < 0.1 else row for row in inner]
        else:
            columns[field.name] = random_values(rng, field.field_type, count, nan=may_be_nan(field.field_id))
    return [dict(zip(columns, row)) for row in zip(*columns.values())]


def random_rows(rng, table, count):
    rows, wanted = random_struct(rng, table.schema().fields, count), table.schema().as_arrow()
    return pa.Table.from_arrays([as_arrow(field, [row[field.name] for row in rows]) for field in wanted], schema=wanted)


def as_arrow(field, values):
    """Arrow makes UUIDs of bytes, and only where they are not in structs."""
    if pa.types.is_struct(field.type):
        inner = [as_arrow(part, [value and value[part.name] for value in values]) for part in field.type]
        return pa.StructArray.from_arrays(inner, fields=list(field.type), mask=pa.array([value is None for value in values]))
    return pa.array([value.bytes if isinstance(value, uuid.UUID) else value for value in values], field.type)


# Filters.


class Test(NamedTuple):
    """A test of a column, or of a transform of it."""

    operation: str
    column: Column
    literals: tuple = ()
    transform: object = None


NEGATED = {
    "is-null": "not-null", "is-nan": "not-nan", "lt": "gt-eq", "gt": "lt-eq", "eq": "not-eq", "starts-with": "not-starts-with", "in": "not-in",
}
NEGATED |= {opposite: operation for operation, opposite in NEGATED.items()}
TURNED = {"lt": "gt", "gt": "lt", "lt-eq": "gt-eq", "gt-eq": "lt-eq", "eq": "eq", "not-eq": "not-eq"}
COMPARISONS = list(TURNED)


def random_filter(rng, columns, depth=3, transforms=True):
    if depth and rng.random() < 0.55:
        kind = rng.choice(["and", "or", "or", "not"])
        inner = [random_filter(rng, columns, depth - 1, transforms) for _ in range(1 if kind == "not" else 2)]
        return (kind, *inner)
    if rng.random() < 0.03:
        return rng.choice([True, False])
    return random_test(rng, rng.choice(columns), transforms)


def random_test(rng, column, transforms):
    kind, transform = column.kind, None
    if transforms and rng.random() < 0.15:
        transform = random_transform(rng, kind)
    tested = transform.result_type(kind) if transform else kind
    operations = ["is-null", "not-null", "in", "not-in", *COMPARISONS, *COMPARISONS]
    if isinstance(tested, (FloatType, DoubleType)):
        operations += ["is-nan", "not-nan"] * 2
    if isinstance(tested, StringType):
        operations += ["starts-with", "not-starts-with"] * 4
    operation = rng.choice(operations)
    if operation.endswith(("null", "nan")):
        return Test(operation, column, (), transform)
    count = rng.choice([1, 2, 3, 5]) if operation in ("in", "not-in") else 1
    literals = [value_of(kind, rng.choice(NUMBERS)) for _ in range(count)]
    if transform:
        literals = [python_value(tested, transform.transform(kind)(iceberg_value(kind, value))) for value in literals]
    # A double that no float is equal to: engines differ in which of the two they round.
    if kind == FloatType() and rng.random() < 0.2:
        literals = [value + 0.1 for value in literals]
    if isinstance(tested, StringType) and rng.random() < 0.5:
        literals = [text[: rng.randint(0, 3)] for text in literals]
    return Test(operation, column, tuple(literals), transform)


def iceberg_value(kind, value):
    """A value as PyIceberg's transforms take it."""
    match value:
        case datetime():
            return (value.replace(tzinfo=None) - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        case date():
            return (value - date(1970, 1, 1)).days
        case time():
            return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    return value


def python_value(kind, value):
    """The opposite of `iceberg_value`."""
    if value is None or not isinstance(value, int):
        return value
    match kind:
        case DateType():
            return date(1970, 1, 1) + timedelta(days=value)
        case TimeType():
            return (datetime(1970, 1, 1) + timedelta(microseconds=value)).time()
        case TimestampType():
            return datetime(1970, 1, 1) + timedelta(microseconds=value)
        case TimestamptzType():
            return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=value)
    return value


def tests_of(tree):
    if isinstance(tree, Test):
        return [tree]
    return [test for part in tree[1:] for test in tests_of(part)] if isinstance(tree, tuple) else []


def rounded(tree):
    """The same with literals for floats as the nearest floats."""
    if isinstance(tree, bool):
        return tree
    if not isinstance(tree, Test):
        return (tree[0], *map(rounded, tree[1:]))
    near = tree.column.kind == FloatType()
    return tree._replace(literals=tuple(struct.unpack("f", struct.pack("f", value))[0] for value in tree.literals)) if near else tree


def pushed_down(tree, wanted=True):
    """The same without `not`."""
    if isinstance(tree, bool):
        return tree is wanted
    if isinstance(tree, Test):
        return tree if wanted else tree._replace(operation=NEGATED[tree.operation])
    if tree[0] == "not":
        return pushed_down(tree[1], not wanted)
    kind = tree[0] if wanted else {"and": "or", "or": "and"}[tree[0]]
    return (kind, *(pushed_down(part, wanted) for part in tree[1:]))


def knows_more(tree):
    """Whether there is a reason to plan fewer files than PyIceberg does."""
    tree = pushed_down(tree)
    if isinstance(tree, tuple) and not isinstance(tree, Test):
        # One side is ruled out by the partition, the other by statistics: PyIceberg asks each of both about the whole.
        return tree[0] == "or" or any(map(knows_more, tree[1:]))
    # All values of a file are the same one, which is the one that is not sought: PyIceberg looks at no bounds for these.
    return isinstance(tree, Test) and tree.operation in ("not-eq", "not-in", "not-starts-with")


def literal_json(kind, value):
    """A literal as the table format writes single values."""
    return value if isinstance(value, (bool, int, float)) else to_json(kind, iceberg_value(kind, value))


def tested_type(test):
    return test.transform.result_type(test.column.kind) if test.transform else test.column.kind


def old_json(tree):
    """The grammar with `term` and `value`."""
    if isinstance(tree, bool):
        return tree
    if not isinstance(tree, Test):
        names = ["child"] if tree[0] == "not" else ["left", "right"]
        return {"type": tree[0], **dict(zip(names, map(old_json, tree[1:])))}
    term = tree.column.name
    if tree.transform:
        term = {"type": "transform", "transform": str(tree.transform), "term": term}
    literals = [literal_json(tested_type(tree), value) for value in tree.literals]
    if tree.operation in ("in", "not-in"):
        return {"type": tree.operation, "term": term, "values": literals}
    return {"type": tree.operation, "term": term, **({"value": literals[0]} if literals else {})}


def new_json(tree, rng):
    """The grammar with `left`, `right` and `child`; columns by name or id, literals bare or with their types, either side first."""
    if isinstance(tree, bool):
        return rng.choice([tree, {"type": str(tree).lower()}])
    if not isinstance(tree, Test):
        names = ["child"] if tree[0] == "not" else ["left", "right"]
        return {"type": tree[0], **{name: new_json(part, rng) for name, part in zip(names, tree[1:])}}
    column = {"type": "reference", **rng.choice([{"name": tree.column.name}, {"id": tree.column.id}])}
    kind = tree.column.kind
    literals = [literal_json(kind, value) for value in tree.literals]
    if tree.operation in ("in", "not-in"):
        values = rng.choice([literals, {"type": "literals", "values": literals, "data-type": str(kind)}])
        return {"type": tree.operation, "child": column, "values": values}
    if not literals:
        return {"type": tree.operation, "child": column}
    literal = rng.choice([{}, {"type": "literal", "value": literals[0]}, {"type": "literal", "value": literals[0], "data-type": str(kind)}])
    literal = literal or literals[0]
    # A bare text on the left would be the name of a column in the older grammar.
    if isinstance(literal, dict) and tree.operation in TURNED and rng.random() < 0.3:
        return {"type": TURNED[tree.operation], "left": literal, "right": column}
    return {"type": tree.operation, "left": column, "right": literal}


EXPRESSIONS = {
    "is-null": E.IsNull, "not-null": E.NotNull, "is-nan": E.IsNaN, "not-nan": E.NotNaN, "lt": E.LessThan, "lt-eq": E.LessThanOrEqual,
    "gt": E.GreaterThan, "gt-eq": E.GreaterThanOrEqual, "eq": E.EqualTo, "not-eq": E.NotEqualTo, "starts-with": E.StartsWith,
    "not-starts-with": E.NotStartsWith, "in": E.In, "not-in": E.NotIn,
}


def expression(tree):
    """PyIceberg's own expression."""
    if isinstance(tree, bool):
        return E.AlwaysTrue() if tree else E.AlwaysFalse()
    if not isinstance(tree, Test):
        return {"and": E.And, "or": E.Or, "not": E.Not}[tree[0]](*map(expression, tree[1:]))
    build, name = EXPRESSIONS[tree.operation], tree.column.name
    if tree.operation in ("in", "not-in"):
        return build(name, set(tree.literals))
    return build(name, *tree.literals)


def parse(filter, columns):
    """The tree of a filter in the older grammar, with literals as the table format writes them or PyIceberg does."""
    if isinstance(filter, bool):
        return filter
    if filter["type"] in ("and", "or", "not"):
        return (filter["type"], *(parse(filter[name], columns) for name in ("left", "right", "child") if name in filter))
    term, transform = filter["term"], None
    if isinstance(term, dict):
        transform, term = parse_transform(term["transform"]), term["term"]
    column = next(column for column in columns if column.name == term)
    literals = filter["values"] if "values" in filter else [filter["value"]] if "value" in filter else []
    tested = transform.result_type(column.kind) if transform else column.kind
    return Test(filter["type"], column, tuple(literal_value(tested, literal) for literal in literals), transform)


def literal_value(kind, literal):
    if isinstance(literal, bool) or not isinstance(literal, str):
        return python_value(kind, literal)
    match kind:
        case DecimalType():
            return Decimal(literal)
        case DateType():
            return date.fromisoformat(literal)
        case TimeType():
            return time.fromisoformat(literal)
        case TimestampType():
            return datetime.fromisoformat(literal)
        case TimestamptzType():
            moment = datetime.fromisoformat(literal)
            # PyIceberg leaves the zone out, and means UTC.
            return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        case UUIDType():
            return uuid.UUID(literal)
        case FixedType() | BinaryType():
            return bytes.fromhex(literal)
    return literal


def matches(tree, row):
    """Whether a row (values by column id) matches."""
    if isinstance(tree, bool):
        return tree
    if not isinstance(tree, Test):
        return (all if tree[0] == "and" else any)(matches(part, row) for part in tree[1:])
    value = row.get(tree.column.id)
    if tree.transform and value is not None:
        value = tree.transform.transform(tree.column.kind)(iceberg_value(tree.column.kind, value))
        value = python_value(tested_type(tree), value)
    return holds(tree.operation, value, tree.literals)


def holds(operation, value, literals):
    if operation in ("not-null", "not-nan", "not-eq", "not-in", "not-starts-with"):
        return not holds(NEGATED[operation], value, literals)
    if operation == "is-null":
        return value is None
    if value is None:
        return False
    match operation:
        case "is-nan":
            return isinstance(value, float) and math.isnan(value)
        case "lt":
            return value < literals[0]
        case "lt-eq":
            return value <= literals[0]
        case "gt":
            return value > literals[0]
        case "gt-eq":
            return value >= literals[0]
        case "starts-with":
            return value.startswith(literals[0])
    return any(value == literal for literal in literals)


# Files.


def rows_of(path):
    """The rows of a Parquet file, as dictionaries by column id."""
    table = pq.ParquetFile(path.removeprefix("file://")).read()
    columns = {}
    for field, column in zip(table.schema, table.columns):
        flatten(field, column.to_pylist(), columns)
    return [dict(zip(columns, row)) for row in zip(*columns.values())]


def flatten(field, values, columns):
    if pa.types.is_struct(field.type):
        for inner in field.type:
            flatten(inner, [value and value[inner.name] for value in values], columns)
        return
    if any(isinstance(value, time) for value in values):
        assert all(value is None or value.tzinfo is None for value in values)
    columns[int(field.metadata[b"PARQUET:field_id"])] = values


def partition_json(table, file):
    """The partition of PyIceberg's data file, as the table format writes single values."""
    spec, schemas = table.specs()[file.spec_id], [table.schema(), *table.schemas().values()]
    values = []
    for at, field in enumerate(spec.fields):
        source = next(schema.find_field(field.source_id).field_type for schema in schemas if field.source_id in schema.field_ids)
        kind, value = field.transform.result_type(source), file.partition[at]
        if isinstance(kind, (TimestampType, TimestamptzType)):
            # To the microsecond, which PyIceberg leaves out where it is a whole second.
            values.append(value if value is None else python_value(kind, value).isoformat(timespec="microseconds"))
        elif isinstance(value, bytes):
            # In upper case, as Java writes them.
            values.append(value.hex().upper())
        elif isinstance(value, float) and not math.isfinite(value):
            values.append({"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)])
        else:
            values.append(value if value is None or isinstance(value, (bool, float)) else to_json(kind, value))
    return json.loads(json.dumps(values, default=str))


# Servers.


def plans_answered(lake):
    """How many scans the server has planned so far."""
    text = requests.get(f"{lake.url}/metrics", timeout=10).text
    lines = [line for line in text.splitlines() if line.startswith("floeberg_http_requests_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if '/plan"' in line and 'status="200"' in line)


class Planner:
    """The routes of one table."""

    def __init__(self, url, namespace, table="t"):
        self.url = f"{url}/v1/namespaces/{namespace}/tables/{table}"
        self.http = requests.Session()

    def ask(self, route="plan", **body):
        return self.http.post(f"{self.url}/{route}", json={name.replace("_", "-"): value for name, value in body.items()}, timeout=60)

    def plan(self, **body):
        answer = self.ask(**body)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:2000]} for {json.dumps(body)[:2000]}"
        plan = answer.json()
        assert plan["status"] == "completed" and plan["plan-id"]
        return plan

    def tasks(self, **body):
        """The tasks of a plan and of all tasks it hands out, with their deletes."""
        pending, found = [self.plan(**body)], []
        while pending:
            part = pending.pop()
            deletes = part.get("delete-files", [])
            found += [{**task, "deletes": [deletes[at] for at in task.get("delete-file-references", [])]} for task in part["file-scan-tasks"]]
            for task in part.get("plan-tasks", []):
                answer = self.ask("tasks", plan_task=task)
                assert answer.status_code == 200, answer.text
                pending.append(answer.json())
        assert len({path(task) for task in found}) == len(found), "a file is planned once"
        return found

    def paths(self, **body):
        return {path(task) for task in self.tasks(**body)}


def path(task):
    return task["data-file"]["file-path"]
