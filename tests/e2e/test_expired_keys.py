"""Keys that are lent for some seconds, and have expired: of a client, and of the server itself; a real store refuses them.

A client that holds a loaded table is refused by the store, changes nothing, and goes on with other keys as soon as it loads the
table again or asks for keys alone. DuckDB and Trino ask whenever they run a statement and notice nothing. A server whose own
keys have expired says which keys are meant, and goes on with others.
"""

import time

import boto3
import pyarrow as pa
import pytest
import requests
from botocore.exceptions import ClientError
from pyiceberg.catalog import load_catalog

from conftest import BRIEFLY, Floeberg, duckdb_with_extensions
from stores import KEY, SECRET
from trino_server import Catalog


def rows(*ids):
    return pa.table({"id": pa.array(ids, pa.int64())})


def ids(table):
    return sorted(table.scan().to_arrow()["id"].to_pylist())


def wait_until(expires_ms):
    time.sleep(max(0, expires_ms / 1_000 + 1 - time.time()))


def expires_ms(keys):
    return int(keys["s3.session-token-expires-at-ms"])


def push(server, id):
    return requests.post(f"{server.url}/ingest/v1/ns/t", json=[{"id": id}], timeout=60)


@pytest.fixture(scope="module")
def catalog(briefly_lent_lake):
    catalog = load_catalog("c", type="rest", uri=briefly_lent_lake.url)
    catalog.create_namespace("ns")
    return catalog


def own_keys(store):
    """What makes a server use keys that are lent to it."""
    sts = boto3.client("sts", endpoint_url=store.endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1")
    allowed = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}'
    keys = sts.assume_role(RoleArn=store.role, RoleSessionName="harness", Policy=allowed)["Credentials"]
    config = store.config("own", more=f'session-token = "{keys["SessionToken"]}"')
    config = config.replace(f'"{KEY}"', f'"{keys["AccessKeyId"]}"').replace(f'"{SECRET}"', f'"{keys["SecretAccessKey"]}"')
    return config, keys["Expiration"].timestamp() * 1_000


@pytest.fixture(scope="module", autouse=True)
def borrower(briefly_lent_lake, tmp_path_factory):
    """A server that has written with keys which were lent to it, and when they expire: while other tests wait for theirs."""
    config, expires = own_keys(briefly_lent_lake.store)
    server = Floeberg(tmp_path_factory.mktemp("borrower"), config=config, store=briefly_lent_lake.store)
    assert push(server, 0).status_code == 200
    yield server, expires
    assert server.stop() == 0, "a stop is clean"


def test_who_loads_a_table_again_is_lent_other_keys(briefly_lent_lake, catalog, trino_server):
    store = briefly_lent_lake.store
    trino, db = Catalog(trino_server, "lent"), duckdb_with_extensions()
    db.execute(
        f"ATTACH '' AS ice (TYPE iceberg, ENDPOINT '{briefly_lent_lake.url}', AUTHORIZATION_TYPE 'none', "
        "ACCESS_DELEGATION_MODE 'vended_credentials', READ_ONLY false)"
    )
    catalog.create_table("ns.t", schema=rows().schema).append(rows(0))
    loaded = catalog.load_table("ns.t")
    first = loaded.io.properties
    assert first["s3.access-key-id"] != KEY and expires_ms(first) < (time.time() + BRIEFLY + 1) * 1_000
    read_by_duckdb = lambda: [id for id, in db.execute("SELECT id FROM ice.ns.t ORDER BY id").fetchall()]
    read_by_trino = lambda: trino.column("SELECT id FROM ns.t ORDER BY id")
    assert ids(loaded) == read_by_duckdb() == read_by_trino() == [0]
    wait_until(expires_ms(first))
    with pytest.raises(ClientError) as refusal:
        store.client(first).list_objects_v2(Bucket=store.bucket, Prefix=f"{store.key_of(loaded.location())}/")
    assert refusal.value.response["Error"]["Code"] == "InvalidAccessKeyId", "so SeaweedFS says it"
    for use, words in [(lambda: ids(loaded), "ACCESS_DENIED"), (lambda: loaded.append(rows(100)), "INVALID_ACCESS_KEY_ID")]:
        with pytest.raises(OSError, match=words):
            use()
    assert catalog.load_table("ns.t").metadata_location == loaded.metadata_location

    again = requests.get(f"{briefly_lent_lake.url}/{first['client.refresh-credentials-endpoint']}", timeout=60).json()
    keys = again["storage-credentials"][0]["config"]
    assert keys["s3.access-key-id"] != first["s3.access-key-id"] and expires_ms(keys) > expires_ms(first)
    assert store.client(keys).list_objects_v2(Bucket=store.bucket, Prefix=f"{store.key_of(loaded.location())}/")["KeyCount"]
    loaded.refresh()
    loaded.append(rows(1))
    db.execute("INSERT INTO ice.ns.t VALUES (2)")
    trino.sql("INSERT INTO ns.t VALUES 3")
    assert ids(catalog.load_table("ns.t")) == read_by_duckdb() == read_by_trino() == [0, 1, 2, 3]
    trino.sql("CREATE TABLE ns.copy AS SELECT id FROM ns.t WHERE id > 1")
    assert ids(catalog.load_table("ns.copy")) == [2, 3]


def test_a_server_whose_own_keys_have_expired_says_so_and_goes_on_with_others(borrower):
    server, expires = borrower
    wait_until(expires)
    refused = push(server, 1)
    assert refused.status_code == 503 and "the store does not know the warehouse's keys" in refused.json()["detail"], refused.text
    assert server.stop() == 0
    (server.folder / "floeberg.toml").write_text(own_keys(server.store)[0])
    server.start()
    assert push(server, 2).status_code == 200
    assert ids(server.pyiceberg().load_table("ns.t")) == [0, 2]
