"""Clients without keys reach a table's objects, and nothing else, by keys they are lent; PyIceberg by signatures too. On real stores.

One floeberg a store, which asks for tokens and stands behind a path, with a warehouse for each way. Every answer of its
own that a test sees is searched for the store's secret.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pyarrow as pa
import pytest
import requests
from botocore.exceptions import ClientError
from pyiceberg.catalog import load_catalog
from pyiceberg.utils.concurrent import ExecutorFactory

from conftest import Floeberg, duckdb_with_extensions, name_of, run
from delegating import SCHEMA, Table, says_the_secret
from processes import free_ports
from stores import KEY, SECRET

# What a client of PyIceberg's says to have its requests signed.
SIGNED = {
    "header.X-Iceberg-Access-Delegation": "remote-signing", "s3.signer": "S3V4RestSigner",
    "py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO",
}


@pytest.fixture
def server(delegating_server):
    return delegating_server


@pytest.fixture
def one_at_a_time(monkeypatch):
    """PyIceberg's threads share one file system, and each that first uses it takes the signer out and puts its own in: what
    another sends meanwhile is not signed, and what it sends after is signed for the wrong table."""
    with ThreadPoolExecutor(1) as alone:
        monkeypatch.setattr(ExecutorFactory, "_instance", alone)
        monkeypatch.setattr(ExecutorFactory, "_instance_pid", os.getpid())
        yield


@pytest.fixture
def namespace(request, server):
    return server.namespace(name_of(request))


def rows(count, start=0):
    return pa.table({"id": pa.array(range(start, start + count), pa.int64())})


def ids(table):
    return sorted(table.scan().to_arrow()["id"].to_pylist())


def denied(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    # A HEAD has no body to name the error in.
    assert error.value.response["Error"]["Code"] in ("AccessDenied", "403"), error.value


def pyiceberg_lives(catalog, namespace, store):
    table = catalog.create_table(f"{namespace}.t", schema=rows(1).schema)
    table.append(rows(10))
    table.append(rows(5, start=10))
    catalog.load_table(f"{namespace}.t").delete("id < 3")
    assert ids(catalog.load_table(f"{namespace}.t")) == list(range(3, 15))
    with catalog.create_table_transaction(f"{namespace}.staged", schema=rows(1).schema) as transaction:
        transaction.append(rows(2))
    assert ids(catalog.load_table(f"{namespace}.staged")) == [0, 1]
    key = store.keys(store.key_of(table.location()))[0]
    assert requests.get(f"{store.endpoint}/{store.bucket}/{quote(key)}", timeout=60).status_code == 403, "it is no secret"
    for name in ("t", "staged"):
        catalog.drop_table(f"{namespace}.{name}")
    assert catalog.list_tables(namespace) == []


def duckdb_lives(db, namespace):
    db.execute(f"CREATE TABLE ice.{namespace}.t (id BIGINT, name VARCHAR)")
    db.execute(f"INSERT INTO ice.{namespace}.t SELECT i, 'n' || i FROM range(10) r(i)")
    db.execute(f"DELETE FROM ice.{namespace}.t WHERE id < 4")
    assert db.execute(f"SELECT count(*), min(id) FROM ice.{namespace}.t").fetchone() == (6, 4)
    db.execute(f"CREATE TABLE ice.{namespace}.copy AS SELECT * FROM ice.{namespace}.t WHERE id > 6")
    assert db.execute(f"SELECT name FROM ice.{namespace}.copy ORDER BY id").fetchall() == [("n7",), ("n8",), ("n9",)]
    for name in ("t", "copy"):
        db.execute(f"DROP TABLE ice.{namespace}.{name}")
    assert db.execute(f"SELECT count(*) FROM duckdb_tables() WHERE schema_name = '{namespace}'").fetchone() == (0,)


def test_pyiceberg_lives_with_lent_keys(server, namespace):
    pyiceberg_lives(server.pyiceberg(), namespace, server.store)


def test_pyiceberg_lives_with_signatures(server, namespace, one_at_a_time):
    pyiceberg_lives(server.pyiceberg("signed", **SIGNED), namespace, server.store)


def test_duckdb_lives_with_lent_keys(server, namespace):
    db = duckdb_with_extensions()
    db.execute(f"CREATE SECRET shown (TYPE iceberg, TOKEN '{server.secrets['write']}')")
    db.execute(
        f"ATTACH 'lent' AS ice (TYPE iceberg, ENDPOINT '{server.catalog_url}', SECRET shown, "
        "ACCESS_DELEGATION_MODE 'vended_credentials', READ_ONLY false)"
    )
    duckdb_lives(db, namespace)


def test_readers_read_and_no_more(server, namespace):
    writer = server.pyiceberg()
    writer.create_table(f"{namespace}.t", schema=rows(1).schema).append(rows(10))
    table = server.pyiceberg(right="read").load_table(f"{namespace}.t")
    assert ids(table) == list(range(10))
    with pytest.raises(OSError, match="(?i)access.?denied"):
        with table.io.new_output(f"{table.location()}/data/x").create() as out:
            out.write(b"x")


@pytest.mark.parametrize("way", ["lent", "signed"])
def test_a_catalog_that_asks_nobody_and_is_told_little(server, tmp_path, one_at_a_time, way):
    """`delegation` is left to the server, which lends where the configuration says of what, and signs elsewhere; only a
    store that lends no keys but of a role must be told of it to have its requests signed."""
    lends = server.store.lends()
    more = lends if way == "lent" else f'delegation = "signed"\n{lends}' if server.store.role else ""
    lake = Floeberg(tmp_path, config=server.store.config(f"{way}_to_all", more=more), store=server.store)
    catalog = load_catalog("c", type="rest", uri=lake.url, **(SIGNED if way == "signed" else {}))
    catalog.create_namespace("ns")
    pyiceberg_lives(catalog, "ns", server.store)
    if way == "lent":
        db = duckdb_with_extensions()
        db.execute(
            f"ATTACH '' AS ice (TYPE iceberg, ENDPOINT '{lake.url}', AUTHORIZATION_TYPE 'none', "
            "ACCESS_DELEGATION_MODE 'vended_credentials', READ_ONLY false)"
        )
        duckdb_lives(db, "ns")
    assert lake.stop() == 0


def test_what_is_lent_says_all_that_a_client_needs(server, namespace):
    before = time.time() * 1_000
    table = Table(server, namespace, "t", "lent")
    config = table.keys()
    assert config["s3.access-key-id"] != KEY and config["s3.secret-access-key"] and config["s3.session-token"]
    assert before < int(config["s3.session-token-expires-at-ms"]) < before + 13 * 3_600_000
    assert config["s3.endpoint"] == server.store.endpoint and config["s3.path-style-access"] == "true"
    assert config["s3.region"] == config["client.region"] == "us-east-1"
    again = requests.get(
        f"{server.catalog_url}/{config['client.refresh-credentials-endpoint']}",
        headers={"Authorization": f"Bearer {server.secrets['write']}"}, timeout=60,
    ).json()["storage-credentials"]
    assert len(again) == 1 and f"{table.location}/".startswith(again[0]["prefix"])
    assert again[0]["config"].keys() == config.keys()
    told = server.ask("GET", table.path, "lent", asked="vended-credentials,remote-signing").json()
    assert told["storage-credentials"][0]["config"] == told["config"]
    # Whoever asks for nothing is given nothing, and one who has that answer is not told that nothing has changed.
    plain = server.ask("GET", table.path, "lent")
    assert "s3.access-key-id" not in plain.json()["config"] and not plain.json().get("storage-credentials")
    known = {"If-None-Match": plain.headers["etag"]}
    server.ask("GET", table.path, "lent", headers=known, wanted=304)
    server.ask("GET", table.path, "lent", asked="vended-credentials", headers=known)


def test_lent_keys_open_the_table(server, namespace):
    table = Table(server, namespace, "t", "lent")
    for keys in (table.config, table.keys()):
        client = server.store.client(keys)
        at = {"Bucket": table.bucket, "Key": f"{table.folder}/data/a b=%25/é+x"}
        client.put_object(**at, Body=b"mine")
        assert client.get_object(**at)["Body"].read() == b"mine" and client.head_object(**at)["ContentLength"] == 4
        found = client.list_objects_v2(Bucket=table.bucket, Prefix=f"{table.folder}/")["Contents"]
        assert at["Key"] in [entry["Key"] for entry in found] and len(found) == 2
        assert client.copy_object(**{**at, "Key": f"{table.folder}/copy"}, CopySource=at)
        for key in (at["Key"], f"{table.folder}/copy"):
            client.delete_object(Bucket=table.bucket, Key=key)

        at["Key"] = f"{table.folder}/data/parts"
        upload = client.create_multipart_upload(**at)["UploadId"]
        part = client.upload_part(**at, UploadId=upload, PartNumber=1, Body=b"p" * 1_000)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload=parts)
        assert client.get_object(**at)["Body"].read() == b"p" * 1_000
        client.abort_multipart_upload(**at, UploadId=client.create_multipart_upload(**at)["UploadId"])
        gone = client.delete_objects(Bucket=table.bucket, Delete={"Objects": [{"Key": at["Key"]}]})
        assert [one["Key"] for one in gone["Deleted"]] == [at["Key"]]
    assert [key.split("/")[-2] for key in server.store.keys(f"{table.folder}/")] == ["metadata"]


def test_lent_keys_open_nothing_else(server, namespace):
    table, other = Table(server, namespace, "orders", "lent"), Table(server, namespace, "orders2", "lent")
    own = server.store.client()
    outside = {
        "another table": f"{other.folder}/data/x", "a longer name": f"{table.folder}x", "the folder": table.folder,
        "the namespace": f"{table.folder.rsplit('/', 1)[0]}/x", "the root": f"{namespace}-root",
    }
    for key in outside.values():
        own.put_object(Bucket=table.bucket, Key=key, Body=b"theirs")
    own.create_bucket(Bucket="elsewhere")
    own.put_object(Bucket="elsewhere", Key=f"{table.folder}/x", Body=b"theirs")
    client = server.store.client(table.config)
    inside = {"Bucket": table.bucket, "Key": f"{table.folder}/x"}
    client.put_object(**inside, Body=b"mine")
    for bucket, key in [*((table.bucket, key) for key in outside.values()), ("elsewhere", f"{table.folder}/x")]:
        at = {"Bucket": bucket, "Key": key}
        for call in (client.get_object, client.head_object, client.delete_object, client.create_multipart_upload):
            denied(call, **at)
        denied(client.put_object, **at, Body=b"broken")
        denied(client.copy_object, **inside, CopySource=at)
        denied(client.copy_object, **at, CopySource=inside)
        many = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]}) if bucket == table.bucket else {}
        assert not many.get("Deleted"), many
        assert own.get_object(**at)["Body"].read() == b"theirs"
    # A store may take such a key for what it says, for another object or for nonsense: never may it show the other table.
    sly = {"Bucket": table.bucket, "Key": f"{table.folder}/../orders2/data/x"}
    with pytest.raises(ClientError):
        client.get_object(**sly)

    for prefix in [None, "", table.folder, f"{table.folder}2/", table.folder.rsplit("/", 1)[0] + "/"]:
        denied(client.list_objects_v2, Bucket=table.bucket, **({} if prefix is None else {"Prefix": prefix}))
    denied(client.list_objects_v2, Bucket="elsewhere", Prefix=f"{table.folder}/")
    denied(client.put_bucket_policy, Bucket=table.bucket, Policy="{}")
    denied(client.create_bucket, Bucket="of-my-own")
    denied(client.delete_bucket, Bucket="elsewhere")
    own.delete_object(Bucket="elsewhere", Key=f"{table.folder}/x")
    own.delete_bucket(Bucket="elsewhere")


def test_a_readers_keys_change_nothing(server, namespace):
    table = Table(server, namespace, "t", "lent")
    at = {"Bucket": table.bucket, "Key": f"{table.folder}/data/x"}
    server.store.client().put_object(**at, Body=b"mine")
    again = server.ask("GET", f"{table.path}/credentials", "lent", "read").json()["storage-credentials"][0]["config"]
    for keys in (table.keys("read"), again):
        client = server.store.client(keys)
        assert client.get_object(**at)["Body"].read() == b"mine"
        assert client.list_objects_v2(Bucket=table.bucket, Prefix=f"{table.folder}/")["KeyCount"] == 2
        denied(client.put_object, **at, Body=b"broken")
        denied(client.put_object, Bucket=table.bucket, Key=f"{table.folder}/data/new", Body=b"broken")
        denied(client.create_multipart_upload, **at)
        denied(client.copy_object, Bucket=table.bucket, Key=f"{table.folder}/copy", CopySource=at)
        denied(client.delete_object, **at)
        client.delete_objects(Bucket=table.bucket, Delete={"Objects": [{"Key": at["Key"]}]})
        denied(client.get_object, Bucket=table.bucket, Key=f"{namespace}-root")
    assert server.store.read(at["Key"]) == b"mine"


def test_a_staged_table_and_one_that_is_registered_get_keys_too(server, namespace):
    staged = Table(server, namespace, "staged", "lent", **{"stage-create": True})
    assert "metadata-location" not in staged.loaded
    again = server.ask("GET", f"{staged.path}/credentials", "lent").json()["storage-credentials"]
    for keys in (staged.config, again[0]["config"]):
        client = server.store.client(keys)
        client.put_object(Bucket=staged.bucket, Key=f"{staged.folder}/data/x", Body=b"mine")
        denied(client.put_object, Bucket=staged.bucket, Key=f"{namespace}-root", Body=b"broken")

    made = Table(server, namespace, "made", "lent")
    server.ask("DELETE", made.path, "lent", wanted=204)
    registered = server.ask(
        "POST", f"namespaces/{namespace}/register", "lent", asked="vended-credentials",
        json={"name": "again", "metadata-location": made.loaded["metadata-location"]},
    ).json()
    client = server.store.client(registered["config"])
    client.put_object(Bucket=made.bucket, Key=f"{made.folder}/data/x", Body=b"mine")
    server.ask("GET", f"namespaces/{namespace}/tables/none/credentials", "lent", wanted=404)


def test_where_no_keys_can_be_lent_it_is_told_before_anything_is_made(server, tmp_path):
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    config = server.store.config("lends_nothing", more=server.store.lends().replace(server.store.endpoint, nowhere))
    lake = Floeberg(tmp_path, config=config, store=server.store)
    asked = {"X-Iceberg-Access-Delegation": "vended-credentials"}
    requests.post(f"{lake.url}/v1/namespaces", json={"namespace": ["ns"]}, timeout=60)
    tables = f"{lake.url}/v1/namespaces/ns/tables"
    made = requests.post(tables, json={"name": "plain", "schema": SCHEMA}, timeout=60)
    assert made.status_code == 200, "who asks for no keys needs none"
    location = made.json()["metadata-location"]
    requests.delete(f"{tables}/plain", timeout=60)
    for url, body in [
        (tables, {"name": "t", "schema": SCHEMA}), (tables, {"name": "t", "schema": SCHEMA, "stage-create": True}),
        (f"{lake.url}/v1/namespaces/ns/register", {"name": "t", "metadata-location": location}),
    ]:
        answer = requests.post(url, json=body, headers=asked, timeout=60)
        assert answer.status_code == 503 and nowhere in answer.json()["error"]["message"], answer.text
        # Java sends a request again that is answered so: it must not find what it has made itself.
        assert requests.head(f"{tables}/t", timeout=60).status_code == 404
    assert lake.stop() == 0
    said = run("check", cwd=lake.folder)
    assert said.returncode == 1 and "FAILED" in said.stdout and nowhere in said.stdout, said.stdout


def test_what_a_table_had_before_it_was_moved_stays_in_reach(server, namespace, one_at_a_time):
    for warehouse, more in [("lent", {}), ("signed", SIGNED)]:
        catalog = server.pyiceberg(warehouse, **more)
        table = catalog.create_table(f"{namespace}.t", schema=rows(1).schema)
        table.append(rows(3))
        move = {"action": "set-location", "location": f"{table.location()}-moved"}
        server.ask("POST", f"namespaces/{namespace}/tables/t", warehouse, json={"requirements": [], "updates": [move]})
        table = server.pyiceberg(warehouse, **more).load_table(f"{namespace}.t")
        table.append(rows(3, start=3))
        assert ids(table) == list(range(6)), warehouse


def test_the_servers_own_keys_are_for_the_asking_only_where_the_configuration_says_so(server, namespace):
    both = "vended-credentials, remote-signing"
    for warehouse in ["own", "signed", "lent", "static"]:
        table = Table(server, namespace, "t", warehouse, asked=both)
        answers = [
            server.ask("GET", table.path, warehouse, right, asked=asked)
            for right in ("write", "read", "admin") for asked in (both, "vended-credentials", "remote-signing")
        ]
        answers.append(server.ask("GET", f"{table.path}/credentials", warehouse))
        answers.append(server.ask("GET", "config", "own", params={"warehouse": warehouse}))
        if warehouse != "signed":
            request = {"method": "GET", "uri": table.uri("/x"), "region": "us-east-1", "headers": {}}
            server.ask("POST", f"{table.path}/sign", warehouse, json=request, wanted=406)
        if warehouse in ("own", "signed"):
            assert not answers[-2].json()["storage-credentials"]
        assert any(map(says_the_secret, answers)) == (warehouse == "static")
        assert not says_the_secret(answers[-1]), "the configuration is for everybody"
    # Whoever asks nothing is given nothing, there too.
    assert "s3.secret-access-key" not in server.ask("GET", table.path, "static").json()["config"]
    server.store.client(table.config).put_object(Bucket=table.bucket, Key=f"{table.folder}/x", Body=b"mine")
    for command in (["check"], ["check", "--url", server.catalog_url, "--token", server.secrets["admin"]]):
        said = run(*command, cwd=server.folder)
        assert said.returncode == 0 and SECRET not in said.stdout + said.stderr, said.stdout
    assert SECRET not in server.process.log.read_text()
