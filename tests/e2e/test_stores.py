"""One suite of what a catalog does in a store, over every kind of store; what is there in the end is asked of the store itself."""

import base64
import json
import random
import shutil
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from pyiceberg.exceptions import NoSuchTableError

from conftest import Floeberg, name_of, run
from processes import free_ports
from stores import Azurite, Directory, FakeGcs

NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="session", params=["directory", "seaweedfs", "minio", "azurite", "fake_gcs"])
def store(request, tmp_path_factory):
    own = {"directory": Directory, "azurite": Azurite, "fake_gcs": FakeGcs}.get(request.param)
    if own is None:
        yield request.getfixturevalue(request.param)
        return
    store = own(tmp_path_factory.mktemp(request.param) / "data")
    yield store
    store.stop()


@pytest.fixture(scope="session")
def server(store, tmp_path_factory):
    config = store.config("wh") + '[ingest]\nbody = "64MiB"\n'
    server = Floeberg(tmp_path_factory.mktemp("over"), config=config, store=store)
    yield server
    assert server.stop() == 0, "a stop is clean"


@pytest.fixture
def namespace(request, server):
    name = name_of(request)
    server.pyiceberg().create_namespace(name)
    return name


def push(server, path, rows):
    body = "".join(json.dumps(row) + "\n" for row in rows)
    answer = requests.post(f"{server.url}/ingest/v1/{path}", data=body, headers=NDJSON, timeout=120)
    assert answer.status_code == 200, answer.text[:2000]
    return answer.json()


def ids(table):
    return sorted(table.scan().to_arrow()["id"].to_pylist())


def until_gone(store, prefix):
    deadline = time.monotonic() + 60
    while left := store.keys(prefix):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_a_table_lives_and_leaves_nothing_behind(server, store, namespace):
    catalog = server.pyiceberg()
    # A name that must be encoded on the way, and a partition whose folder must be.
    table = catalog.create_table(f"{namespace}.t 1é", schema=pa.schema([("id", pa.int64()), ("part", pa.string())]))
    with table.update_spec() as update:
        update.add_identity("part")
    parts = ["a", "b/c=d%25 é+x", None]
    table.append(pa.table({"id": pa.array(range(3), pa.int64()), "part": parts}))
    asked = {"X-Iceberg-Access-Delegation": "vended-credentials,remote-signing"}
    told = requests.get(f"{server.url}/v1/namespaces/{namespace}/tables/t%201é", headers=asked, timeout=60)
    assert told.status_code == 200 and not [value for key, value, _ in store.wrong_keys() if "-id" not in key and value in told.text]
    answer = push(server, f"{namespace}/t%201é", [{"id": 3 + i, "part": part} for i, part in enumerate(parts)])
    assert answer["rows"]["written"] == 3
    table = catalog.load_table(f"{namespace}.t 1é")
    assert ids(table) == list(range(6)) and len(table.inspect.files()) == 6
    table.delete("id = 1")
    folder = store.key_of(table.location()) + "/"
    location = catalog.load_table(f"{namespace}.t 1é").metadata_location
    metadata = json.loads(store.read(store.key_of(location)))
    assert metadata["table-uuid"] == str(table.metadata.table_uuid) and len(metadata["snapshots"]) == 3
    for file in table.inspect.files()["file_path"].to_pylist():
        assert store.read(store.key_of(file))[:4] == b"PAR1", file

    catalog.rename_table(f"{namespace}.t 1é", f"{namespace}.renamed")
    with pytest.raises(NoSuchTableError):
        catalog.load_table(f"{namespace}.t 1é")
    push(server, f"{namespace}/renamed", [{"id": 6}])
    location = catalog.load_table(f"{namespace}.renamed").metadata_location
    catalog.drop_table(f"{namespace}.renamed")
    kept = store.keys(folder)
    assert store.key_of(location) in kept, "a drop keeps what is there"
    registered = catalog.register_table(f"{namespace}.registered", location)
    assert ids(registered) == [0, 2, 3, 4, 5, 6] and store.keys(folder) == kept, "to register writes nothing"
    registered.append(pa.table({"id": pa.array([7], pa.int64()), "part": ["a"]}))
    assert ids(catalog.load_table(f"{namespace}.registered")) == [0, 2, 3, 4, 5, 6, 7]
    catalog.purge_table(f"{namespace}.registered")
    until_gone(store, folder)


def test_pushed_rows_are_objects_of_the_store(server, store, namespace):
    for turn in range(3):
        push(server, f"{namespace}/pushed?partition_by=bucket(2,id)", [{"id": turn * 100 + i, "name": f"n{i}"} for i in range(100)])
    table = server.pyiceberg().load_table(f"{namespace}.pushed")
    assert ids(table) == list(range(300))
    folder = store.key_of(table.location()) + "/"
    known = {store.key_of(path) for path in table.inspect.files()["file_path"].to_pylist()}
    assert len(known) == 6 and {key for key in store.keys(f"{folder}data/")} == known


def test_an_object_too_large_for_one_put_goes_up_in_parts(server, store, namespace):
    # Nothing makes these small.
    dice = random.Random(5)
    texts = [base64.b64encode(dice.randbytes(900_000)).decode() for _ in range(42)]
    push(server, f"{namespace}/large", [{"id": id, "text": text} for id, text in enumerate(texts)])
    files = server.pyiceberg().load_table(f"{namespace}.large").inspect.files().to_pylist()
    assert len(files) == 1 and files[0]["file_size_in_bytes"] > 32 << 20, files
    data = store.read(store.key_of(files[0]["file_path"]))
    assert len(data) == files[0]["file_size_in_bytes"]
    assert pq.read_table(pa.BufferReader(data))["text"].to_pylist() == texts


def test_check_says_what_is_wrong_with_a_store(store, tmp_path):
    def check(config):
        shutil.rmtree(tmp_path / "lake", ignore_errors=True)
        (tmp_path / "lake").mkdir()
        (tmp_path / "lake/floeberg.toml").write_text(config)
        return run("check", cwd=tmp_path / "lake")

    config = store.config("checked")
    good = check(config)
    assert good.returncode == 0 and "warehouse lake" in good.stdout and "FAILED" not in good.stdout, good.stdout
    assert store.keys("checked") == [], "a check leaves nothing behind"
    if isinstance(store, Directory):
        return
    if not store.makes_buckets:
        missing = check(config.replace("://plain", "://no-such-bucket"))
        assert missing.returncode == 1 and "FAILED  warehouse lake" in missing.stdout, missing.stdout
        assert 'there is no bucket "no-such-bucket' in missing.stdout and "create it" in missing.stdout, missing.stdout
    down = check(config.replace(store.endpoint, f"http://127.0.0.1:{free_ports(1)[0]}"))
    assert down.returncode == 1 and "FAILED  warehouse lake" in down.stdout and "answer" in down.stdout, down.stdout
    for key, value, wrong in store.wrong_keys():
        refused = check(config.replace(f'{key} = "{value}"', f'{key} = "{wrong}"'))
        assert refused.returncode == 1 and "FAILED  warehouse lake" in refused.stdout, refused.stdout
        assert "the store does not know the warehouse's keys: check them" in refused.stdout, refused.stdout
        assert value not in refused.stdout + refused.stderr and wrong not in refused.stdout + refused.stderr
