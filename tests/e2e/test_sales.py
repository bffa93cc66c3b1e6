"""A table of sales on a bucket, day by day, all through Trino: its layout, what a query reads, how it changes, how it goes back."""

import re
from datetime import date
from decimal import Decimal

import pyarrow.parquet as pq
import pytest

from conftest import LAKES
from trino_server import objects, wait_until_gone

pytestmark = pytest.mark.parametrize("lake", [lake for lake in LAKES if lake != "local"], indirect=True)

PLACE = "s3://plain/wh/lakehouse/sales"
CREATE = (
    "CREATE TABLE IF NOT EXISTS lakehouse.sales (order_id varchar NOT NULL, customer_id varchar NOT NULL, amount decimal(12,2) NOT NULL, "
    "country varchar, ingestion_date date NOT NULL) WITH (format = 'PARQUET', partitioning = ARRAY['ingestion_date'])"
)
ROWS = [
    ("o1", "c1", Decimal("10.50"), "DE", date(2024, 1, 15)),
    ("o2", "c2", Decimal("9999999999.99"), "FR", date(2024, 1, 15)),
    ("o3", "c1", Decimal("-5.25"), None, date(2024, 1, 16)),
    ("o4", "c3", Decimal("0.01"), "DE", date(2024, 1, 17)),
]


def as_values(rows):
    text = lambda value: "NULL" if value is None else f"'{value}'"
    return ", ".join(f"({text(order)}, {text(customer)}, DECIMAL '{amount}', {text(country)}, DATE '{day}')" for order, customer, amount, country, day in rows)


@pytest.fixture
def sales(trino, lake):
    """The catalog, with the table in it, of three days."""
    trino.sql("CREATE SCHEMA IF NOT EXISTS lakehouse")
    for _ in range(2):
        trino.sql(CREATE)
    trino.sql(f"INSERT INTO lakehouse.sales VALUES {as_values(ROWS)}")
    yield trino
    trino.sql("DROP TABLE IF EXISTS lakehouse.sales")
    # Trino makes no table where files lie, and the next one is made at the same place.
    wait_until_gone(lake, PLACE)
    trino.sql("DROP SCHEMA lakehouse")


def scanned(trino, query):
    """How many data files and rows a query read, by Trino's own account."""
    account = trino.value(f"EXPLAIN ANALYZE VERBOSE {query}")
    files = re.search(r"'dataFiles' = LongCount\{total=(\d+)\}", account)
    return int(files[1]), int(re.search(r"Input: (\d+) rows? .*Splits: ", account)[1])


def test_sales_are_laid_out_and_read_by_day(sales, lake):
    assert sales.sql("SELECT * FROM lakehouse.sales ORDER BY order_id") == ROWS
    found = objects(lake, PLACE)
    data = [path.removeprefix(f"{PLACE}/data/") for path in found if path.startswith(f"{PLACE}/data/")]
    assert sorted(path.split("/")[0] for path in data) == [f"ingestion_date=2024-01-{day}" for day in (15, 16, 17)]
    assert all(re.fullmatch(r"ingestion_date=[\d-]+/[^/]+\.parquet", path) for path in data)
    metadata = [path for path in found if re.fullmatch(rf"{PLACE}/metadata/[^/]+\.(metadata\.json|avro|stats)", path)]
    assert len(metadata) + len(data) == len(found) and any(path.endswith(".metadata.json") for path in metadata)
    table = lake.pyiceberg().load_table("lakehouse.sales")
    assert table.location() == PLACE
    for path in data:
        with table.io.new_input(f"{PLACE}/data/{path}").open() as file:
            group = pq.ParquetFile(file).metadata.row_group(0)
            assert {group.column(at).compression for at in range(group.num_columns)} == {"SNAPPY"}

    query = "SELECT * FROM lakehouse.sales WHERE ingestion_date = DATE '2024-01-15'"
    plan = sales.value(f"EXPLAIN {query}")
    assert "constraint on [ingestion_date]" in plan and "[[2024-01-15]]" in plan and "Filter" not in plan
    assert scanned(sales, query) == (1, 2) and scanned(sales, "SELECT * FROM lakehouse.sales") == (3, 4)
    assert sales.sql(f"{query} ORDER BY order_id") == ROWS[:2]


def test_sales_change_and_no_file_is_written_again(sales, lake):
    before = objects(lake, f"{PLACE}/data")
    assert len(before) == 3
    for change in ("ADD COLUMN currency varchar", "ADD COLUMN pieces integer AFTER amount"):
        sales.sql(f"ALTER TABLE lakehouse.sales {change}")
    assert sales.sql("SELECT order_id, currency, pieces FROM lakehouse.sales ORDER BY 1") == [(row[0], None, None) for row in ROWS]
    sales.sql("INSERT INTO lakehouse.sales VALUES ('o5', 'c1', 2, 3, 'DE', DATE '2024-01-17', 'EUR')")
    for change in (
        "ALTER COLUMN pieces SET DATA TYPE bigint",
        "ALTER COLUMN amount SET DATA TYPE decimal(18,2)",
        "RENAME COLUMN country TO land",
        "DROP COLUMN customer_id",
    ):
        sales.sql(f"ALTER TABLE lakehouse.sales {change}")
    # Trino cannot move a column that is there, and reads one that another has moved.
    with lake.pyiceberg().load_table("lakehouse.sales").update_schema() as schema:
        schema.move_first("ingestion_date")
    assert sales.column("SHOW COLUMNS FROM lakehouse.sales") == ["ingestion_date", "order_id", "amount", "pieces", "land", "currency"]
    sales.sql("INSERT INTO lakehouse.sales VALUES (DATE '2024-01-18', 'o6', DECIMAL '9999999999999999.99', 5000000000, NULL, 'EUR')")
    now = [(day, order, amount, None, country, None) for order, _, amount, country, day in ROWS] + [
        (date(2024, 1, 17), "o5", Decimal("2.00"), 3, "DE", "EUR"),
        (date(2024, 1, 18), "o6", Decimal("9999999999999999.99"), 5_000_000_000, None, "EUR"),
    ]
    assert sales.sql("SELECT * FROM lakehouse.sales ORDER BY order_id") == now
    after = objects(lake, f"{PLACE}/data")
    assert len(after) == 5 and before.items() <= after.items()
    read = lake.pyiceberg().load_table("lakehouse.sales").scan().to_arrow().to_pylist()
    assert sorted((tuple(row.values()) for row in read), key=lambda row: row[1]) == now

    # From now on by country too; what lies there stays where it is.
    sales.sql("ALTER TABLE lakehouse.sales SET PROPERTIES partitioning = ARRAY['ingestion_date', 'land']")
    sales.sql("INSERT INTO lakehouse.sales VALUES (DATE '2024-01-17', 'o7', 1, 1, 'DE', 'EUR'), (DATE '2024-01-17', 'o8', 1, 1, 'FR', 'EUR')")
    one = Decimal("1.00")
    now += [(date(2024, 1, 17), "o7", one, 1, "DE", "EUR"), (date(2024, 1, 17), "o8", one, 1, "FR", "EUR")]
    assert sales.sql("SELECT * FROM lakehouse.sales ORDER BY order_id") == now
    added = objects(lake, f"{PLACE}/data").keys() - after.keys()
    assert sorted(path.removeprefix(f"{PLACE}/data/").rsplit("/", 1)[0] for path in added) == [f"ingestion_date=2024-01-17/land={land}" for land in ("DE", "FR")]
    query = "SELECT order_id FROM lakehouse.sales WHERE ingestion_date = DATE '2024-01-17' AND land = 'DE'"
    assert sorted(sales.column(query)) == ["o4", "o5", "o7"]
    # Two files of the old layout, whose statistics know of no other country, and the one of DE.
    assert scanned(sales, query) == (3, 3)
    assert after.items() <= objects(lake, f"{PLACE}/data").items()


def test_sales_of_then(sales, lake):
    (then, moment), = sales.sql('SELECT snapshot_id, CAST(committed_at AS varchar) FROM lakehouse."sales$snapshots" ORDER BY committed_at DESC LIMIT 1')
    sales.sql("ALTER TABLE lakehouse.sales ADD COLUMN currency varchar")
    sales.sql("UPDATE lakehouse.sales SET amount = 0, currency = 'EUR' WHERE order_id = 'o1'")
    sales.sql("DELETE FROM lakehouse.sales WHERE ingestion_date = DATE '2024-01-16'")
    assert sales.sql("SELECT order_id, amount, currency FROM lakehouse.sales ORDER BY 1") == [
        ("o1", Decimal("0.00"), "EUR"), ("o2", Decimal("9999999999.99"), None), ("o4", Decimal("0.01"), None),
    ]
    # With the columns of then.
    for past in (f"VERSION AS OF {then}", f"TIMESTAMP AS OF TIMESTAMP '{moment}'"):
        assert sales.sql(f"SELECT * FROM lakehouse.sales FOR {past} ORDER BY order_id") == ROWS, past
    sales.sql(f"ALTER TABLE lakehouse.sales EXECUTE rollback_to_snapshot({then})")
    # With the columns of now.
    assert sales.sql("SELECT * FROM lakehouse.sales ORDER BY order_id") == [(*row, None) for row in ROWS]
    assert lake.pyiceberg().load_table("lakehouse.sales").current_snapshot().snapshot_id == then
