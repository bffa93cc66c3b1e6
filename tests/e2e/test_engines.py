"""Flink, ClickHouse, Polars and Daft with keys that they are lent, on real stores: each reads what others wrote, and is read by all.

Each cell is a table of its own, so that one says what another cannot do. Multisets are compared, as in the matrix.
"""

from datetime import date

import pytest

from conftest import LEND, LONG, Guarded, duckdb_with_extensions

if not LONG:
    pytest.skip("the long form installs these engines", allow_module_level=True)

import spark_session
from engines import ENGINES
from matrix import MORE_TYPES, READERS, TYPES, WRITERS, Clients, multiset, rows_of, wanted
from trino_server import Catalog, Trino, iceberg

# Daft finds no lists in files of DuckDB's, also where the columns asked for are others.
CANNOT = {("duckdb", "daft"): "list type must have a single child"}
# Polars looks for an optional planner before it takes PyIceberg.
pytestmark = pytest.mark.filterwarnings("ignore:.*polars_iceberg")


class Lending(Guarded):
    """A floeberg that asks for tokens and lends keys."""

    def __init__(self, folder, store):
        # ClickHouse looks for tables at a wrong place when the endpoint that it is lent does not end with a slash.
        config = store.config("engines", more=store.lends(), endpoint=f"{store.endpoint}/")
        super().__init__(folder, f'auth = "token"\n{config}', store)
        self.headers = {"Authorization": f"Bearer {self.secrets['write']}"}

    def client_settings(self):
        return {"uri": self.url, "token": self.secrets["write"]}

    def duckdb(self):
        connection = duckdb_with_extensions()
        connection.execute(f"CREATE SECRET shown (TYPE iceberg, TOKEN '{self.secrets['write']}')")
        connection.execute(
            f"ATTACH '' AS ice (TYPE iceberg, ENDPOINT '{self.url}', SECRET shown, "
            "ACCESS_DELEGATION_MODE 'vended_credentials', READ_ONLY false)"
        )
        return connection


@pytest.fixture(scope="module", params=["seaweedfs", "minio"])
def lake(request, tmp_path_factory):
    server = Lending(tmp_path_factory.mktemp("lending"), request.getfixturevalue(request.param))
    yield server
    assert server.stop() == 0, "a stop is clean"


@pytest.fixture(scope="module")
def trino(lake, tmp_path_factory):
    server = Trino(tmp_path_factory.mktemp("trino_lent"), {"lent": iceberg(lake)})
    yield Catalog(server, "lent")
    server.stop()


@pytest.fixture(scope="module")
def ice(lake, spark):
    return spark_session.Catalog(spark, f"ice_{lake.port}", {**lake.client_settings(), **LEND})


@pytest.fixture(scope="module")
def engines(lake, tmp_path_factory):
    made = {name: kind(lake, tmp_path_factory.mktemp(name)) for name, kind in ENGINES.items()}
    yield made
    for engine in made.values():
        engine.stop()


@pytest.fixture
def clients(lake, trino, ice, namespace):
    return lambda names: Clients(lake, trino, ice, f"{namespace}.t", {name: MORE_TYPES[name] for name in names})


@pytest.mark.parametrize("writer", WRITERS)
def test_engines_read_what_others_wrote(engines, clients, writer):
    # Spark has no times.
    names = list(TYPES if writer == "spark" else MORE_TYPES)
    table, rows = clients(names), rows_of(writer)
    table.make("pyiceberg")
    table.write(writer, rows)
    for name, engine in engines.items():
        if (writer, name) in CANNOT:
            with pytest.raises(Exception, match=CANNOT[writer, name]):
                engine.read(table.table, names)
        else:
            assert multiset(engine.read(table.table, names), names) == wanted(map(engine.said, rows), names), name


def test_engines_read_a_table_that_lived(lake, trino, engines, clients):
    """Made and partitioned by a push of rows; a column came, rows went, by files of deletes and by whole files."""
    names = ["id", "day", "d", "s"]
    pushed = clients(names)
    table = pushed.table
    pushed.write_by_ingest([{"id": id, "day": f"2024-01-0{1 + id % 3}", "d": id / 2} for id in range(9)], partition_by="day")
    trino.sql(f"ALTER TABLE {table} ADD COLUMN s varchar")
    trino.sql(f"DELETE FROM {table} WHERE id = 4")
    trino.sql(f"DELETE FROM {table} WHERE day = DATE '2024-01-03'")
    trino.sql(f"UPDATE {table} SET s = 'changed' WHERE id = 6")
    pushed.write_by_ingest([{"id": 9, "day": "2024-01-03", "s": "late"}, {"id": 9, "day": "2024-01-03", "s": "late"}])
    kept = [(0, 1, 0.0, None), (1, 2, 0.5, None), (3, 1, 1.5, None), (6, 1, 3.0, "changed"), (7, 2, 3.5, None), *[(9, 3, None, "late")] * 2]
    left = multiset([(id, date(2024, 1, day), amount, note) for id, day, amount, note in kept], names)
    assert lake.pyiceberg().load_table(table).inspect.delete_files().num_rows, "some rows went by files of deletes"
    for name, engine in engines.items():
        assert multiset(engine.read(table, names), names) == left, name


# Polars makes no tables.
MAKERS = [(writer, maker) for writer in ENGINES for maker in ("itself", "pyiceberg") if (writer, maker) != ("polars", "itself")]


@pytest.mark.parametrize(("writer", "maker"), MAKERS)
def test_everyone_reads_what_an_engine_wrote(engines, clients, writer, maker):
    engine = engines[writer]
    cannot = engine.unwritable | (engine.uncreatable if maker == "itself" else set())
    names = [name for name in MORE_TYPES if name not in cannot]
    table = clients(names)
    if maker == "itself":
        engine.create(table.table, names)
    else:
        table.make(maker)
    rows = rows_of("pyiceberg")
    engine.write(table.table, rows, names)
    rows = [engine.said({name: row[name] for name in names}) for row in rows]
    for reader in READERS:
        # Spark reads no table with times.
        if reader != "spark" or "t" in cannot:
            assert multiset(table.read(reader), names) == wanted(rows, names), reader
    for reader, other in engines.items():
        assert multiset(other.read(table.table, names), names) == wanted(map(other.said, rows), names), reader
