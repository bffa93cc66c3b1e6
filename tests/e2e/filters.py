"""Random filters for the tests of scan planning, and what a filter means, row by row.

A filter is a tree: `True`, `False`, `("and" | "or", left, right)`, `("not", child)` or `Test`. It is written in each grammar
that clients have, evaluated over rows as they stand in the files, and handed to PyIceberg as its own expression.
Which values match is what Iceberg's clients agree on: nothing but `is-null` and the tests for something else
(`not-eq`, `not-in`, `not-starts-with`, `not-nan`) matches null; no range matches NaN.
"""

import math
import struct
import uuid
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import NamedTuple

import pyiceberg.expressions as E
from pyiceberg.conversions import to_json
from pyiceberg.transforms import parse_transform
from pyiceberg.types import (
    BinaryType, DateType, DecimalType, DoubleType, FixedType, FloatType, StringType, TimestampType, TimestamptzType, TimeType, UUIDType,
)

from random_tables import NUMBERS, Column, iceberg_value, python_value, random_transform, value_of


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
