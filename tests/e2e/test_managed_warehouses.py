"""Warehouses that an operator adds while the server runs: tried on a real store before they are kept, served at once, and sealed.

SeaweedFS makes the bucket that a first put names; MinIO says that there is none.
"""

import base64
import os

import pytest
import requests
from pyiceberg.catalog import load_catalog

from conftest import SECRET, Floeberg
from stores import KEY


@pytest.fixture(params=["seaweedfs", "minio"])
def store(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def server(tmp_path):
    key = base64.b64encode(os.urandom(32)).decode()
    server = Floeberg(tmp_path / "server", config=f'seal-key = "{key}"\n')
    yield server
    assert server.stop() == 0, "a stop is clean"


def described(store, **more):
    keys = {"access-key-id": KEY, "secret-access-key": SECRET}
    sts = {"sts-endpoint": store.endpoint} | ({"sts-role-arn": store.role} if store.role else {})
    return {"url": store.url("managed"), "endpoint": store.endpoint, "region": "us-east-1", **keys, **sts, **more}


def ask(server, method, path="", **body):
    return requests.request(method, f"{server.url}/manage/v1/warehouses{path}", json=body or None, timeout=60)


def test_a_warehouse_is_added_and_clients_live_in_it(server, store):
    added = ask(server, "POST", name="lake", **described(store))
    assert added.status_code == 200 and SECRET not in added.text, added.text
    assert "can be written, read, listed and deleted; clients that ask are lent keys" in added.json()["found"]
    # The client knows no key: it is lent some.
    client = lambda: load_catalog("managed", type="rest", uri=server.url, warehouse="lake")
    client().create_namespace("ns")
    answer = requests.post(f"{server.url}/ingest/v1/ns/t?warehouse=lake", json=[{"id": id} for id in range(5)], timeout=60)
    assert answer.status_code == 200, answer.text
    assert client().load_table("ns.t").scan().to_arrow()["id"].to_pylist() == list(range(5))
    server.restart()
    assert client().load_table("ns.t").scan().to_arrow().num_rows == 5
    client().purge_table("ns.t")
    client().drop_namespace("ns")
    gone = ask(server, "DELETE", "/lake")
    for _ in range(100):
        if gone.status_code != 409:
            break
        gone = ask(server, "DELETE", "/lake")
    assert gone.status_code == 204 and store.keys("managed/") == [], gone.text


def test_what_is_wrong_with_a_store_is_said_in_words(server, store):
    wrong = [
        ({"secret-access-key": "not the secret"}, "does not know the warehouse's keys"),
        ({"endpoint": "http://127.0.0.1:1", "sts-endpoint": "http://127.0.0.1:1"}, "does not answer"),
    ]
    if not store.makes_buckets:
        wrong.append(({"url": "s3://no-such-bucket/x"}, 'there is no bucket "no-such-bucket"'))
    for more, words in wrong:
        refused = ask(server, "POST", name="lake", **described(store, **more))
        assert refused.status_code == 400 and words in refused.json()["detail"], refused.text
        assert SECRET not in refused.text
    assert [one["name"] for one in ask(server, "GET").json()["warehouses"]] == ["default"]
