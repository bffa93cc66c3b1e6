"""What the real-client tests share: servers on loopback, and clients of them.

`lake` is a floeberg over a local directory and, again, over a bucket of a real SeaweedFS (in the long form of a MinIO too):
one suite, every store. No client of a bucket is told a key: it is lent some.
`every_door` gives it to a test in two ways more: by a token, and as an OAuth client.
Every process is started on a free port and stopped by its id.
"""

import os
import signal
import subprocess
from pathlib import Path

import duckdb
import duckdb_extension_avro
import duckdb_extension_httpfs
import duckdb_extension_iceberg
import pytest
from pyiceberg.catalog import load_catalog

from processes import Process, answers, free_ports
from stores import CACHE, KEY, SECRET, MinIO, SeaweedFS

BINARY = os.environ["E2E_BINARY"]
LONG = os.environ.get("E2E_FORM") == "long"
# Seconds for which keys are lent that are to expire under a test.
BRIEFLY = 12
# What a client says to be lent keys.
LEND = {"header.X-Iceberg-Access-Delegation": "vended-credentials"}


def run(*arguments, cwd, **options):
    """What a command of floeberg's says."""
    return subprocess.run([BINARY, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, **options)


class Floeberg:
    """A floeberg over a directory, with or without a configured warehouse."""

    # One who may read only, where somebody is asked.
    reader = None
    # What a request carries that no client of Iceberg's makes.
    headers = {}

    def __init__(self, folder, config="", arguments=(), store=None, lends=False):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "floeberg.toml").write_text(config)
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.arguments = arguments
        self.store = store
        # Whether it lends its clients keys, or they are told some of their own.
        self.lends = lends
        self.process = None
        self.start()

    def start(self):
        command = [BINARY, "serve", "--listen", f"127.0.0.1:{self.port}", *self.arguments]
        self.process = Process(command, self.folder / "log", cwd=self.folder)
        self.process.wait_for("floeberg", lambda: answers(f"{self.url}/health/ready"))

    def stop(self, how=signal.SIGTERM):
        return self.process.stop(how)

    def kill(self):
        return self.process.stop(signal.SIGKILL)

    def restart(self):
        self.stop()
        self.start()

    @property
    def pid(self):
        return self.process.child.pid

    def client_settings(self):
        """What a client sets, by the names that Iceberg's clients share. For a bucket: that keys be lent, or its own, and nothing else."""
        if self.lends:
            return {"uri": self.url, **LEND}
        return {"uri": self.url, **(self.store.client_settings() if self.store else {})}

    def pyiceberg(self):
        return load_catalog("floeberg", type="rest", **self.client_settings())

    def duckdb(self):
        connection = duckdb_with_extensions()
        if self.store and not self.lends:
            endpoint = self.store.endpoint.removeprefix("http://")
            connection.execute(
                f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', ENDPOINT '{endpoint}', "
                "USE_SSL false, URL_STYLE 'path', REGION 'us-east-1')"
            )
        connection.execute(
            f"ATTACH '' AS ice (TYPE iceberg, ENDPOINT '{self.url}', AUTHORIZATION_TYPE 'none', "
            f"ACCESS_DELEGATION_MODE '{'vended_credentials' if self.lends else 'none'}', READ_ONLY false)"
        )
        return connection


TOKENS = """
auth = "token"
base-path = "/some/lake"
default-warehouse = "first"
[warehouses.first]
url = "file://{0}/first"
[warehouses.second]
url = "file://{0}/second"
"""


class Guarded(Floeberg):
    """A floeberg that asks for tokens, with a secret for each right; two warehouses unless told of others, behind a path."""

    def __init__(self, folder, config=None, store=None):
        self.secrets = {}
        config = config or TOKENS.format(folder)
        (folder / "floeberg.toml").write_text(config)
        # The first token is made while no server runs, the others by the server.
        self.secrets["admin"] = self.make_token(folder, "--admin")
        super().__init__(folder, config, store=store)
        for right in ("read", "write"):
            self.secrets[right] = self.make_token(folder, "--name", right, "--right", right)
        self.catalog_url = f"{self.url}/some/lake"

    def make_token(self, folder, *arguments):
        env = {**os.environ, **({"FLOEBERG_TOKEN": self.secrets["admin"]} if self.secrets else {})}
        command = [BINARY, "token", "create", *arguments]
        return subprocess.run(command, cwd=folder, env=env, capture_output=True, check=True).stdout.decode().strip()


class Entrance:
    """What `lake` offers to those who come in by a token's secret: as a bearer (`token`) or as an OAuth client (`credential`)."""

    store = None

    def __init__(self, guarded, how, right="write"):
        self.url, self.how = guarded.catalog_url, how
        self.name, self.secret = right, guarded.secrets[right]
        self.reader = self if right == "read" else Entrance(guarded, how, "read")

    def client_settings(self):
        place = {"uri": self.url, "warehouse": "second"}
        if self.how == "token":
            return {**place, "token": self.secret}
        return {**place, "credential": f"{self.name}:{self.secret}", "oauth2-server-uri": f"{self.url}/v1/oauth/tokens"}

    def pyiceberg(self):
        return load_catalog("floeberg", type="rest", **self.client_settings())

    def duckdb(self):
        connection = duckdb_with_extensions()
        shown = {
            "token": f"TOKEN '{self.secret}'",
            "credential": f"CLIENT_ID '{self.name}', CLIENT_SECRET '{self.secret}', OAUTH2_SCOPE 'catalog', "
            f"OAUTH2_SERVER_URI '{self.url}/v1/oauth/tokens'",
        }
        connection.execute(f"CREATE SECRET shown (TYPE iceberg, {shown[self.how]})")
        connection.execute(
            f"ATTACH 'second' AS ice (TYPE iceberg, ENDPOINT '{self.url}', SECRET shown, "
            "ACCESS_DELEGATION_MODE 'none', READ_ONLY false)"
        )
        return connection


def duckdb_with_extensions():
    connection = duckdb.connect()
    for module in (duckdb_extension_httpfs, duckdb_extension_avro, duckdb_extension_iceberg):
        connection.execute(f"LOAD '{extension_file(module)}'")
    connection.execute("SET TimeZone='UTC'")
    return connection


def extension_file(module):
    name = module.__name__.removeprefix("duckdb_extension_")
    folder = Path(module.__file__).parent / "extensions"
    return next(folder.glob(f"*/{name}.duckdb_extension"))


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory):
    store = SeaweedFS(tmp_path_factory.mktemp("seaweedfs") / "data")
    yield store
    store.stop()


@pytest.fixture(scope="session")
def minio(tmp_path_factory):
    store = MinIO(tmp_path_factory.mktemp("minio") / "data")
    yield store
    store.stop()


@pytest.fixture(scope="session")
def local_lake(tmp_path_factory):
    server = Floeberg(tmp_path_factory.mktemp("local"))
    yield server
    assert server.stop() == 0, "a stop is clean"


@pytest.fixture(scope="session")
def seaweed_lake(tmp_path_factory, seaweedfs):
    yield from lending(tmp_path_factory.mktemp("seaweed"), seaweedfs)


@pytest.fixture(scope="session")
def minio_lake(tmp_path_factory, minio):
    yield from lending(tmp_path_factory.mktemp("minio_lake"), minio)


def lending(folder, store):
    server = Floeberg(folder, config=store.config("wh", more=store.lends()), store=store, lends=True)
    yield server
    assert server.stop() == 0, "a stop is clean"


@pytest.fixture(scope="session")
def guarded(tmp_path_factory):
    server = Guarded(tmp_path_factory.mktemp("guarded"))
    yield server
    assert server.stop() == 0, "a stop is clean"


LAKES = {"local": "local_lake", "seaweedfs": "seaweed_lake", **({"minio": "minio_lake"} if LONG else {})}


@pytest.fixture(params=LAKES)
def lake(request):
    """A floeberg, over each store in turn; tests share it and use namespaces of their own."""
    if request.param in ("token", "credential"):
        return Entrance(request.getfixturevalue("guarded"), request.param)
    return request.getfixturevalue(LAKES[request.param])


@pytest.fixture(scope="session")
def briefly_lent_lake(tmp_path_factory):
    """A floeberg over a store that lends keys for some seconds."""
    store = SeaweedFS(tmp_path_factory.mktemp("brief") / "data", longest=f"{BRIEFLY}s")
    # The log tells of every request.
    config = store.config("wh", more=store.lends()) + '[log]\nlevel = "debug"\n'
    server = Floeberg(tmp_path_factory.mktemp("brief_lake"), config=config, store=store)
    yield server
    assert server.stop() == 0, "a stop is clean"
    store.stop()


@pytest.fixture(scope="session")
def trino_server(request, tmp_path_factory, local_lake, guarded, briefly_lent_lake):
    """One Trino for all tests: each door is a catalog of it, called as `lake` calls it."""
    # Here, since it imports this module.
    from trino_server import Trino, iceberg

    # A table's place is its name, and files are written as the catalog says where the table does not say.
    of_a_store = {"iceberg.unique-table-location": "false", "iceberg.compression-codec": "SNAPPY"}
    server = Trino(
        tmp_path_factory.mktemp("trino"),
        {
            "local": iceberg(local_lake),
            **{name: iceberg(request.getfixturevalue(lake), **of_a_store) for name, lake in LAKES.items() if name != "local"},
            "credential": iceberg(Entrance(guarded, "credential"), **{"iceberg.rest-catalog.nested-namespace-enabled": "true"}),
            "lent": iceberg(briefly_lent_lake),
            "reader": iceberg(Entrance(guarded, "token", "read")),
            "tpch": {"connector.name": "tpch"},
        },
    )
    yield server
    server.stop()


@pytest.fixture
def trino(request, trino_server, lake):
    from trino_server import Catalog

    return Catalog(trino_server, request.node.callspec.params["lake"])


@pytest.fixture(scope="session", params=["seaweedfs", "minio"])
def delegating_server(request, tmp_path_factory):
    """A floeberg that delegates, over each store in turn."""
    # Here, since it imports this module.
    from delegating import Delegating

    server = Delegating(tmp_path_factory.mktemp(f"delegating_{request.param}"), request.getfixturevalue(request.param))
    yield server
    assert server.stop() == 0, "a stop is clean"


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for a few MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
    yield folder
    # A server that a failed test left behind still holds it.
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """One JVM for all tests: each door is a catalog of its session."""
    from spark_session import started

    yield from started(tmp_path_factory.mktemp("spark"))


@pytest.fixture
def ice(request, spark, lake):
    from spark_session import Catalog

    return Catalog(spark, f"ice_{request.node.callspec.params['lake']}", lake.client_settings())


every_door = pytest.mark.parametrize("lake", [*LAKES, "token", "credential"], indirect=True)


def name_of(request):
    """The test's name, as a namespace may be called."""
    return "".join(c if c.isalnum() else "_" for c in request.node.name).lower()


@pytest.fixture
def namespace(request, lake):
    """A fresh namespace."""
    name = name_of(request)
    lake.pyiceberg().create_namespace(name)
    return name
