"""A store that fails, is down or is full: what is acknowledged is in the table once, what is not is not, and it goes on after.

Between floeberg, or an engine, and a real store stands a proxy that fails as it is told to. Retries hide what they can. The
full store is a real one on a small disk.
"""

import random
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
import pytest
import requests
from py4j.protocol import Py4JJavaError
from pyiceberg.exceptions import ServiceUnavailableError
from trino.exceptions import TrinoExternalError, TrinoQueryError

import spark_session
from conftest import LONG, Floeberg, name_of
from relay import Message, Unreliable
from stores import KEY, SECRET, MinIO
from trino_server import Catalog, iceberg

STEPS = {
    "data": lambda request: request.method == "PUT" and request.target.endswith(".parquet"),
    "manifest": lambda request: request.method == "PUT" and "-m0.avro" in request.target,
    "list of manifests": lambda request: request.method == "PUT" and "/snap-" in request.target,
    "metadata": lambda request: request.method == "PUT" and request.target.endswith(".metadata.json"),
}


@pytest.fixture(scope="session", params=["seaweedfs", "minio"] if LONG else ["minio"])
def network(request):
    store = request.getfixturevalue(request.param)
    network = Unreliable(store.endpoint.removeprefix("http://"))
    network.store, network.name = store, request.param
    yield network
    network.down()


@pytest.fixture(scope="session")
def server(network, tmp_path_factory):
    """A floeberg that has no other way to the store than through the network that fails."""
    config = network.store.config("failing", endpoint=network.endpoint)
    server = Floeberg(tmp_path_factory.mktemp(f"failing_{network.name}"), config=config, store=network.store)
    yield server
    network.calm()
    assert server.stop() == 0, "a stop is clean"


@pytest.fixture(scope="session")
def failing_trino(server, network, trino_server):
    """Its own way to the store leads through the network that fails too. Untold it would ask a store that is down for minutes."""
    own = {
        "iceberg.rest-catalog.vended-credentials-enabled": "false", "s3.endpoint": network.endpoint, "s3.aws-access-key": KEY,
        "s3.aws-secret-key": SECRET, "s3.max-error-retries": "5", "s3.socket-timeout": "5s",
    }
    name = f"failing_{network.name}"
    trino_server.add(name, iceberg(server, **own))
    return Catalog(trino_server, name)


@pytest.fixture(scope="session")
def failing_spark(server, network, spark):
    """It too: the catalog tells it that way."""
    own = {"s3.retry.min-wait-ms": "50", "http-client.apache.socket-timeout-ms": "5000"}
    return spark_session.Catalog(spark, f"failing_{network.name}", {**server.client_settings(), **own})


@pytest.fixture
def add(request, server, table, engine):
    """How an engine adds a row."""
    name = table.replace("/", ".")
    if engine == "PyIceberg":
        catalog = server.pyiceberg()
        return lambda id: catalog.load_table(name).append(rows(id))
    if engine == "DuckDB":
        db = server.duckdb()
        return lambda id: db.execute(f"INSERT INTO ice.{name} VALUES ({id})")
    catalog = request.getfixturevalue(f"failing_{engine.lower()}")
    return lambda id: catalog.sql(f"INSERT INTO {name} VALUES ({id})")


@pytest.fixture
def table(request, network):
    """The path of a table of the test's own, to begin in calm weather."""
    name = name_of(request)
    network.calm()
    network.failed.clear()
    yield f"{name}/t"
    network.calm()


def rows(*ids):
    return pa.table({"id": pa.array(ids, pa.int64())})


def push(server, table, ids):
    return requests.post(f"{server.url}/ingest/v1/{table}", json=[{"id": id} for id in ids], timeout=120)


def accepted(server, table, ids):
    answer = push(server, table, ids)
    assert answer.status_code == 200, answer.text
    assert answer.json()["rows"]["written"] == len(ids)


def found(server, table):
    """What an engine reads."""
    return sorted(server.pyiceberg().load_table(table.replace("/", ".")).scan().to_arrow()["id"].to_pylist())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["busy", "reset", "lost"])
def test_a_put_that_fails_twice_is_not_noticed(server, network, table, how, step):
    accepted(server, table, [0])
    network.fail(how, 2, STEPS[step])
    accepted(server, table, [1, 2])
    assert len(network.failed) >= 2 and {one[0] for one in network.failed} == {how}, network.failed
    accepted(server, table, [3])
    network.calm()
    assert found(server, table) == [0, 1, 2, 3]


@pytest.mark.parametrize("step", STEPS if LONG else ["metadata"])
def test_a_put_that_is_done_and_never_answered_is_not_noticed(server, network, table, step):
    accepted(server, table, [0])
    network.fail("silent", 1, STEPS[step])
    accepted(server, table, [1])
    assert [one[0] for one in network.failed] == ["silent"]
    accepted(server, table, [2])
    network.calm()
    assert found(server, table) == [0, 1, 2]


def test_a_read_that_fails_is_read_again(server, network, table):
    accepted(server, table, [0])
    server.restart()
    for how in ("busy", "reset"):
        network.fail(how, 1, lambda request: request.method == "GET" and "metadata" in request.target)
    accepted(server, table, [1])
    assert {one[0] for one in network.failed} == {"busy", "reset"}
    network.calm()
    assert found(server, table) == [0, 1]


def test_a_store_that_goes_on_failing_is_told_and_nothing_is_committed(server, network, table):
    accepted(server, table, [0])
    network.fail("busy", 1_000, STEPS["metadata"])
    told_that_it_is_away(push(server, table, [1]))
    assert len(network.failed) > 2, "it was tried again"
    network.calm()
    accepted(server, table, [2])
    network.calm()
    assert found(server, table) == [0, 2]


def told_that_it_is_away(answer):
    assert answer.status_code == 503 and answer.headers["content-type"] == "application/problem+json", answer.text
    assert int(answer.headers["retry-after"]) > 0 and "store" in answer.json()["detail"], answer.text


def test_a_store_that_is_down_is_told_and_work_goes_on_when_it_is_back(server, network, table):
    accepted(server, table, [0])
    network.down()
    try:
        with ThreadPoolExecutor(4) as pushers:
            for answer in pushers.map(lambda at: push(server, table, [10 + at]), range(4)):
                told_that_it_is_away(answer)
        namespace = table.split("/")[0]
        schema = {"type": "struct", "fields": [{"id": 1, "name": "id", "required": False, "type": "long"}]}
        made = requests.post(f"{server.url}/v1/namespaces/{namespace}/tables", json={"name": "other", "schema": schema}, timeout=120)
        assert made.status_code == 503 and made.json()["error"]["code"] == 503 and "store" in made.json()["error"]["message"], made.text
        # What needs no store goes on.
        assert requests.get(f"{server.url}/v1/namespaces/{namespace}/tables", timeout=60).json()["identifiers"]
        assert requests.get(f"{server.url}/health/live", timeout=60).status_code == 200
    finally:
        network.up()
    accepted(server, table, [1])
    network.calm()
    assert found(server, table) == [0, 1]
    assert requests.get(f"{server.url}/health/ready", timeout=60).status_code == 200


def from_the_first(which):
    """True of the first request that `which` is true of, and of all that come after it."""
    begun = []
    return lambda request: bool(begun) or (which(request) and not begun.append(request))


# The engine puts data and manifests, the catalog the metadata file. Who hears of the catalog that it is away asks again, for most of a minute.
WRITES = [
    ("PyIceberg", "metadata", ServiceUnavailableError, "the store does not answer"),
    ("Trino", "data", TrinoExternalError, "Error committing write to Parquet file"),
    ("Trino", "manifest", TrinoExternalError, "Failed to commit during insert"),
]
if LONG:
    WRITES += [
        ("PyIceberg", "manifest", OSError, "NETWORK_CONNECTION"),
        ("DuckDB", "metadata", duckdb.Error, "HTTP 503"),
        ("Trino", "metadata", TrinoExternalError, "Service failed: 503: .* the store does not answer"),
        ("Spark", "data", Py4JJavaError, "Failed to close current writer"),
        ("Spark", "manifest", Py4JJavaError, "Unable to execute HTTP request"),
        ("Spark", "metadata", Py4JJavaError, "Service failed: 503: .* the store does not answer"),
    ]


@pytest.mark.parametrize("engine, step, kind, words", WRITES, ids=[f"{engine}-{step}" for engine, step, *_ in WRITES])
def test_a_store_that_goes_down_in_the_middle_of_an_engines_write(server, network, table, add, step, kind, words):
    accepted(server, table, [0])
    load = lambda: server.pyiceberg().load_table(table.replace("/", "."))
    before = load()
    network.fail("reset", 10_000, from_the_first(STEPS[step]))
    with pytest.raises(kind, match=words):
        add(1)
    network.calm()
    assert load().metadata_location == before.metadata_location and load().snapshots() == before.snapshots()
    add(2)
    accepted(server, table, [3])
    assert found(server, table) == [0, 2, 3]


# Both commit by Iceberg's own library.
on_the_jvm = pytest.mark.parametrize("engine", ["Trino", "Spark"] if LONG else ["Trino"])


@on_the_jvm
def test_a_store_that_is_back_while_an_engine_still_asks_is_not_noticed(server, network, table, add):
    accepted(server, table, [0])
    tried = []

    def first_file(request):
        """Each time that the catalog is asked it begins another metadata file: it gives up the first."""
        if STEPS["metadata"](request):
            tried.append(request.target)
        return request.target in tried[:1]

    network.fail("reset", 10_000, first_file)
    add(1)
    network.calm()
    assert tried[0] != tried[-1] and {one[2] for one in network.failed} == {tried[0]}, "the engine was refused once"
    add(2)
    assert found(server, table) == [0, 1, 2]


@on_the_jvm
@pytest.mark.parametrize("how", ["busy", "reset", "lost", *(["silent"] if LONG else [])])
def test_a_put_of_an_insert_that_fails_is_not_noticed(server, network, table, add, how):
    accepted(server, table, [0])
    for id, step in enumerate(STEPS, 1):
        network.fail(how, 1, STEPS[step])
        add(id)
    assert [one[0] for one in network.failed] == [how] * len(STEPS), network.failed
    assert all(any(STEPS[step](Message([], b"", *one[1:])) for one in network.failed) for step in STEPS)
    network.calm()
    assert found(server, table) == [0, 1, 2, 3, 4]


@on_the_jvm
def test_in_foul_weather_what_an_engine_inserted_is_there_once(server, network, table, add):
    accepted(server, table, [0])
    acknowledged, failed = {0}, set()
    network.chaos(seed=random.randrange(1 << 30) if LONG else 7, chance=0.15)

    def insert(number):
        for id in range(1 + number * 1_000, 1 + number * 1_000 + (40 if LONG else 12)):
            try:
                add(id)
                acknowledged.add(id)
            except (TrinoQueryError, Py4JJavaError):
                failed.add(id)

    with ThreadPoolExecutor(2) as inserters:
        list(inserters.map(insert, range(2)))
    network.calm()
    # Another process has nothing but what is in the store.
    server.restart()
    read = found(server, table)
    assert len(read) == len(set(read)), "a row is there twice"
    assert acknowledged <= set(read) <= acknowledged | failed
    assert {one[0] for one in network.failed} == {"busy", "reset", "lost"} and len(acknowledged) > 12, failed
    add(100_000)
    accepted(server, table, [100_001])
    assert found(server, table) == read + [100_000, 100_001]


def test_in_foul_weather_exactly_what_is_acknowledged_is_there(server, network, table):
    accepted(server, table, [0])
    acknowledged, refused, open_ended = {0}, set(), set()
    network.chaos(seed=random.randrange(1 << 30) if LONG else 7, chance=0.15)

    def pusher(number):
        for turn in range(60 if LONG else 15):
            ids = [1 + number * 10_000 + turn * 10 + at for at in range(3)]
            answer = push(server, table, ids)
            kind = {200: acknowledged, 503: refused, 500: open_ended}[answer.status_code]
            kind.update(ids)

    with ThreadPoolExecutor(4) as pushers:
        list(pushers.map(pusher, range(4)))
    network.calm()
    read = found(server, table)
    assert len(read) == len(set(read)), "a row is there twice"
    assert acknowledged <= set(read) and not refused & set(read)
    assert set(read) - acknowledged <= open_ended
    assert {one[0] for one in network.failed} == {"busy", "reset", "lost"} and len(acknowledged) > 30


@pytest.fixture
def small_store(small_disk):
    """A store that says when it is full; SeaweedFS says of everything that it encountered an internal error."""
    store = MinIO(small_disk / "data")
    yield store
    store.stop()


def fill(disk):
    """A file that leaves no room beside it."""
    filler = disk / "filler"
    with filler.open("wb") as out:
        out.write(b"x" * shutil.disk_usage(disk).free)
    return filler


def test_a_store_that_is_full_is_told_and_work_goes_on_when_there_is_room(small_disk, small_store, tmp_path):
    server = Floeberg(tmp_path / "lake", config=small_store.config("wh"), store=small_store)
    accepted(server, "ns/t", range(100))
    catalog, db = server.pyiceberg(), server.duckdb()
    before = catalog.load_table("ns.t")
    insert = "INSERT INTO ice.ns.t VALUES (101)"
    filler = fill(small_disk)
    pushed, *refused = at_once(
        lambda: push(server, "ns/t", [1_000]),
        lambda: catalog.load_table("ns.t").transaction().set_properties(k="v").commit_transaction(),
        lambda: catalog.create_table("ns.other", rows().schema),
        # What these write themselves finds no room.
        lambda: catalog.load_table("ns.t").append(rows(1_000)),
        lambda: db.execute(insert),
    )
    told_that_it_is_away(pushed)
    assert "the store is full: make room" in pushed.json()["detail"], pushed.text
    for failure in refused[:2]:
        assert isinstance(failure, ServiceUnavailableError) and "the store is full: make room" in str(failure), failure
    assert all(re.search("(?i)no space left|storage ?full", str(failure)) for failure in refused[2:]), refused
    now = catalog.load_table("ns.t")
    assert now.metadata_location == before.metadata_location and now.scan().to_arrow().num_rows == 100, "reading goes on"
    assert not catalog.table_exists("ns.other")
    filler.unlink()
    accepted(server, "ns/t", [100])
    db.execute(insert)
    catalog.load_table("ns.t").append(rows(102))
    assert found(server, "ns/t") == list(range(103))
    assert server.stop() == 0


def at_once(*asks):
    """What each gives, or how it fails."""
    with ThreadPoolExecutor(len(asks)) as askers:
        under_way = [askers.submit(ask) for ask in asks]
        return [one.exception() or one.result() for one in under_way]
