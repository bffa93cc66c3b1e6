"""Who writes and who reads: rows of floeberg's ingest, PyIceberg, DuckDB, Trino and Spark, read by each client.

What comes out is the table of the README.
"""

from datetime import date, datetime, timezone
from pathlib import Path
from uuid import UUID

import pytest

from conftest import LAKES, LONG
from matrix import FULL, MORE_TYPES, READERS, TYPES, WRITERS, Clients, rows_of

pytestmark = pytest.mark.parametrize("lake", [lake for lake in LAKES if LONG or lake == "seaweedfs"], indirect=True)

# What Spark 3.5 has no types for.
NOT_SPARKS = {"id": TYPES["id"], "t": MORE_TYPES["t"], "u": ("uuid", "uuid")}
VALUES = {"t": FULL["t"], "u": UUID(int=2**127 + 5)}
NEWEST_TYPES = {"id": TYPES["id"], "s": TYPES["s"]}


@pytest.fixture
def clients(lake, trino, ice, namespace):
    return lambda name, types: Clients(lake, trino, ice, f"{namespace}.{name}", types)


def row_of_the_readme(writer):
    """What the README's table says of a writer, reader by reader, without the marks of its notes."""
    lines = (Path(__file__).parents[2] / "README.md").read_text().splitlines()
    head = next(line for line in lines if line.startswith("| written by |"))
    assert [cell.strip() for cell in head.split("|")[2:-1]] == [WRITERS[reader] for reader in READERS]
    row = next(line for line in lines[lines.index(head) :] if line.startswith(f"| {WRITERS[writer]} |"))
    return ["".join(sign for sign in cell if sign in "✓✗–") for cell in row.split("|")[2:-1]]


@pytest.mark.parametrize("writer", WRITERS)
def test_what_each_writes_the_others_read_as_the_readme_says(clients, writer):
    table, newest = clients("t", TYPES), clients("newest", NEWEST_TYPES)
    table.make(writer, partitioned=True)
    rows = rows_of(writer)
    table.write(writer, rows)
    written = table.outcomes(rows)
    # Into the same table everyone writes, and of each a row is deleted.
    for other in WRITERS.keys() - {writer}:
        table.write(other, rows_of(other))
        rows += rows_of(other)
    assert table.outcomes(rows) == written
    deleted = ["–"] * len(READERS)
    if writer != "ingest":
        ids = [10 * at + 1 for at in range(len(WRITERS))]
        table.delete(writer, ids)
        deleted = table.outcomes([row for row in rows if row["id"] not in ids])
    # The third format, where rows are deleted by vectors.
    newest.make(writer, version=3)
    rows = [{"id": id, "s": f"s{id}"} for id in range(4)]
    third = ["–"] * len(READERS)
    if writer == "pyiceberg":
        with pytest.raises(ValueError, match="Cannot write manifest for table version: 3"):
            newest.write(writer, rows)
    else:
        newest.write(writer, rows)
        if writer != "ingest":
            newest.delete(writer, [2])
            del rows[2]
        third = newest.outcomes(rows)
    measured = ["".join(signs) for signs in zip(written, deleted, third)]
    assert measured == row_of_the_readme(writer)


def test_times_and_uuids_are_for_all_but_spark(clients):
    table, rows = clients("t", NOT_SPARKS), []
    table.make("pyiceberg")
    for id, writer in enumerate(WRITERS):
        if writer != "spark":
            table.write(writer, [{"id": id, **VALUES}])
            rows.append({"id": id, **VALUES})
    assert dict(zip(READERS, table.outcomes(rows))) == dict.fromkeys(READERS, "✓") | {"spark": "✗"}
    # Alone, a UUID is text to it.
    table = clients("uuids", {"id": TYPES["id"], "u": NOT_SPARKS["u"]})
    table.make("pyiceberg")
    table.write("pyiceberg", rows[:1])
    assert table.read("spark") == [(rows[0]["id"], str(VALUES["u"]))]


def test_everyone_reads_and_writes_a_table_that_ingest_made(clients):
    table = clients("pushed", {"id": TYPES["id"], "tz": TYPES["tz"], "d": TYPES["d"], "note": TYPES["s"]})
    on = lambda day, hour, minute=0: datetime(2024, 1, day, hour, minute, tzinfo=timezone.utc)
    pushed = [{"id": 1, "tz": on(1, 10), "d": 9.5}, {"id": 2, "tz": on(2, 11, 30)}]
    table.write_by_ingest(pushed, partition_by="day(tz)")
    table.trino.sql(f"ALTER TABLE {table.table} ADD COLUMN note varchar")
    rows = [{"d": None, "note": None, **row} for row in pushed]
    for id, writer in enumerate(WRITERS, start=3):
        more = [{"id": id, "tz": on(2, 12), "d": -0.5, "note": writer}] * 2
        table.write(writer, more)
        rows += more
    assert table.outcomes(rows) == ["✓"] * len(READERS)
    late = f"SELECT id FROM {table.table} WHERE tz >= TIMESTAMP '2024-01-02 12:00:00 UTC' AND note > 'q' ORDER BY id"
    assert all(table.engine(name).column(late) == [6, 6, 7, 7] for name in ("trino", "spark"))
    days = [(date(2024, 1, 1), 1), (date(2024, 1, 2), 11)]
    namespace = table.table.split(".")[0]
    assert sorted(table.trino.sql(f'SELECT partition.tz_day, sum(record_count) FROM {namespace}."pushed$files" GROUP BY 1')) == days
    # A row that another deleted stays deleted when more are pushed.
    for id, writer in ((6, "trino"), (7, "spark"), (5, "duckdb")):
        table.delete(writer, [id])
    table.write_by_ingest([{"id": 9, "tz": on(2, 0), "d": 0.0}])
    rows = [row for row in rows if row["id"] not in (5, 6, 7)] + [{"id": 9, "tz": on(2, 0), "d": 0.0, "note": None}]
    assert table.outcomes(rows) == ["✓"] * len(READERS)
