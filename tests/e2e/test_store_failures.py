"""A store that fails while rows are pushed: what is acknowledged is in the table once, what is not is not, and it goes on after.

Between floeberg and a real store stands a proxy that fails as it is told to. Retries hide what they can.
"""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from conftest import LONG, Floeberg, name_of
from relay import Unreliable

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


@pytest.fixture
def table(request, network):
    """The path of a table of the test's own, to begin in calm weather."""
    name = name_of(request)
    network.calm()
    network.failed.clear()
    yield f"{name}/t"
    network.calm()


def push(server, table, ids):
    return requests.post(f"{server.url}/ingest/v1/{table}", json=[{"id": id} for id in ids], timeout=120)


def accepted(server, table, ids):
    answer = push(server, table, ids)
    assert answer.status_code == 200, answer.text
    assert answer.json()["rows"]["written"] == len(ids)


def found(server, network, table):
    """What an engine reads when the network is well again."""
    network.calm()
    return sorted(server.pyiceberg().load_table(table.replace("/", ".")).scan().to_arrow()["id"].to_pylist())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["busy", "reset", "lost"])
def test_a_put_that_fails_twice_is_not_noticed(server, network, table, how, step):
    accepted(server, table, [0])
    network.fail(how, 2, STEPS[step])
    accepted(server, table, [1, 2])
    assert len(network.failed) >= 2 and {one[0] for one in network.failed} == {how}, network.failed
    accepted(server, table, [3])
    assert found(server, network, table) == [0, 1, 2, 3]


def test_a_read_that_fails_is_read_again(server, network, table):
    accepted(server, table, [0])
    server.restart()
    for how in ("busy", "reset"):
        network.fail(how, 1, lambda request: request.method == "GET" and "metadata" in request.target)
    accepted(server, table, [1])
    assert {one[0] for one in network.failed} == {"busy", "reset"}
    assert found(server, network, table) == [0, 1]


def test_a_store_that_goes_on_failing_is_told_and_nothing_is_committed(server, network, table):
    accepted(server, table, [0])
    network.fail("busy", 1_000, STEPS["metadata"])
    told_that_it_is_away(push(server, table, [1]))
    assert len(network.failed) > 2, "it was tried again"
    network.calm()
    accepted(server, table, [2])
    assert found(server, network, table) == [0, 2]


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
    assert found(server, network, table) == [0, 1]
    assert requests.get(f"{server.url}/health/ready", timeout=60).status_code == 200


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
    read = found(server, network, table)
    assert len(read) == len(set(read)), "a row is there twice"
    assert acknowledged <= set(read) and not refused & set(read)
    assert set(read) - acknowledged <= open_ended
    assert {one[0] for one in network.failed} == {"busy", "reset", "lost"} and len(acknowledged) > 30
