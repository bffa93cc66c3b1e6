"""Random tables for the tests of scan planning: their values, how they change, and what stands in their files."""

import json
import math
import struct
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.conversions import to_json
from pyiceberg.schema import Schema
from pyiceberg.transforms import BucketTransform, DayTransform, HourTransform, IdentityTransform, MonthTransform, TruncateTransform, YearTransform
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
