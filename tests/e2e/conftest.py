"""What the real-client tests share: servers on loopback, and clients of them.

`lake` is a floeberg over a local directory and, again, over a bucket of a real SeaweedFS: one suite, both stores.
`every_door` gives it to a test in two ways more: by a token, and as an OAuth client.
Every process is started on a free port and stopped by its id.
"""

import atexit
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import boto3
import duckdb
import duckdb_extension_avro
import duckdb_extension_httpfs
import duckdb_extension_iceberg
import pytest
import requests
from pyiceberg.catalog import load_catalog

BINARY = os.environ["E2E_BINARY"]
LONG = os.environ.get("E2E_FORM") == "long"
CACHE = Path(os.environ["E2E_CACHE"]).resolve()
KEY, SECRET = "harness", "harness-secret"


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Process:
    """A child process with its output in a file, stopped by its id."""

    def __init__(self, arguments, log, env=None, cwd=None):
        self.log = Path(log)
        self.arguments = [str(argument) for argument in arguments]
        with self.log.open("ab") as out:
            self.child = subprocess.Popen(
                self.arguments, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, cwd=cwd
            )
        # A test that fails half-way leaves nothing running.
        atexit.register(lambda: self.child.poll() is None and self.child.kill())

    def wait_for(self, what, ready, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if ready():
                return
            if self.child.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{what} did not come up:\n{self.log.read_text(errors='replace')[-4000:]}")

    def stop(self, how=signal.SIGTERM, seconds=40):
        if self.child.poll() is None:
            self.child.send_signal(how)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise


def answers(url, accepted=(200,)):
    try:
        return requests.get(url, timeout=2).status_code in accepted
    except requests.RequestException:
        return False


class Floeberg:
    """A floeberg over a directory, with or without a configured warehouse."""

    # One who may read only, where somebody is asked.
    reader = None

    def __init__(self, folder, config="", arguments=(), store=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "floeberg.toml").write_text(config)
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.arguments = arguments
        self.store = store
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
        """What a client sets, by the names that Iceberg's clients share. For a bucket: its own keys, and nothing else."""
        keys = {"s3.access-key-id": KEY, "s3.secret-access-key": SECRET} if self.store else {}
        return {"uri": self.url, **keys}

    def pyiceberg(self):
        return load_catalog("floeberg", type="rest", **self.client_settings())

    def duckdb(self):
        connection = duckdb_with_extensions()
        if self.store:
            endpoint = self.store.endpoint.removeprefix("http://")
            connection.execute(
                f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', ENDPOINT '{endpoint}', "
                "USE_SSL false, URL_STYLE 'path', REGION 'us-east-1')"
            )
        connection.execute(
            f"ATTACH '' AS ice (TYPE iceberg, ENDPOINT '{self.url}', AUTHORIZATION_TYPE 'none', "
            "ACCESS_DELEGATION_MODE 'none', READ_ONLY false)"
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
    """A floeberg that asks for tokens, with a secret for each right; two warehouses, behind a path."""

    def __init__(self, folder):
        self.secrets = {}
        (folder / "floeberg.toml").write_text(TOKENS.format(folder))
        # The first token is made while no server runs, the others by the server.
        self.secrets["admin"] = self.make_token(folder, "--admin")
        super().__init__(folder, TOKENS.format(folder))
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


class SeaweedFS:
    """A SeaweedFS with one bucket."""

    def __init__(self, folder):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = [
            "s3.port", "s3.port.iceberg", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port",
            "volume.port.grpc", "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc", "s3.port.lance",
        ]
        ports = dict(zip(names, free_ports(len(names))))
        self.endpoint = f"http://127.0.0.1:{ports['s3.port']}"
        weed = Path(os.sys.executable).parent / "weed"
        command = [
            weed, "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-tableBucket=warehouse", "-bucket=plain",
            *(f"-{name}={port}" for name, port in ports.items()),
        ]
        env = {**os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        self.process = Process(command, folder.with_suffix(".log"), env=env)
        self.process.wait_for("SeaweedFS", self.ready, seconds=60)

    def client(self):
        return boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def ready(self):
        if not answers(self.endpoint, (200, 403)):
            return False
        try:
            names = [bucket["Name"] for bucket in self.client().list_buckets()["Buckets"]]
            return "plain" in names
        except Exception:
            return False

    def config(self, prefix):
        return (
            f'[warehouses.lake]\nurl = "s3://plain/{prefix}"\nendpoint = "{self.endpoint}"\nregion = "us-east-1"\n'
            f'path-style = true\naccess-key-id = "{KEY}"\nsecret-access-key = "{SECRET}"\n'
        )


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory):
    store = SeaweedFS(tmp_path_factory.mktemp("seaweedfs") / "data")
    yield store
    store.process.stop()


@pytest.fixture(scope="session")
def local_lake(tmp_path_factory):
    server = Floeberg(tmp_path_factory.mktemp("local"))
    yield server
    assert server.stop() == 0, "a stop is clean"


@pytest.fixture(scope="session")
def seaweed_lake(tmp_path_factory, seaweedfs):
    server = Floeberg(tmp_path_factory.mktemp("seaweed"), config=seaweedfs.config("wh"), store=seaweedfs)
    yield server
    assert server.stop() == 0, "a stop is clean"


@pytest.fixture(scope="session")
def guarded(tmp_path_factory):
    server = Guarded(tmp_path_factory.mktemp("guarded"))
    yield server
    assert server.stop() == 0, "a stop is clean"


@pytest.fixture(params=["local", "seaweedfs"])
def lake(request):
    """A floeberg, over each store in turn; tests share it and use namespaces of their own."""
    if request.param in ("token", "credential"):
        return Entrance(request.getfixturevalue("guarded"), request.param)
    return request.getfixturevalue({"local": "local_lake", "seaweedfs": "seaweed_lake"}[request.param])


@pytest.fixture(scope="session")
def trino_server(tmp_path_factory, local_lake, seaweed_lake, guarded):
    """One Trino for all tests: each door is a catalog of it, called as `lake` calls it."""
    # Here, since it imports this module.
    from trino_server import Trino, iceberg

    server = Trino(
        tmp_path_factory.mktemp("trino"),
        {
            "local": iceberg(local_lake),
            # A table's place is its name, and files are written as the catalog says where the table does not say.
            "seaweedfs": iceberg(seaweed_lake, **{"iceberg.unique-table-location": "false", "iceberg.compression-codec": "SNAPPY"}),
            "credential": iceberg(Entrance(guarded, "credential"), **{"iceberg.rest-catalog.nested-namespace-enabled": "true"}),
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


every_door = pytest.mark.parametrize("lake", ["local", "seaweedfs", "token", "credential"], indirect=True)


@pytest.fixture
def namespace(request, lake):
    """A fresh namespace."""
    name = "".join(c if c.isalnum() else "_" for c in request.node.name).lower()
    lake.pyiceberg().create_namespace(name)
    return name
