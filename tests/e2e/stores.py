"""Real stores of the tests, on loopback: SeaweedFS, MinIO, Azurite (Azure) and fake-gcs-server (Google).

Each has `config(prefix)`, the block of floeberg's configuration; `client_settings()`, what an engine with keys of its own is
told; `wrong_keys()`, of which key of the configuration another value is wrong; `keys(prefix)` and `read(key)`, what is really
there, asked of the store itself; and `stop()`.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import xml.etree.ElementTree as ElementTree
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import boto3
import requests
from botocore.config import Config
from pyiceberg.io.pyarrow import PyArrowFileIO

from processes import Process, answers, free_ports
from relay import Message, Relay

CACHE = Path(os.environ["E2E_CACHE"]).resolve()
KEY, SECRET = "harness", "harness-secret"


class Directory:
    """A local directory, to be asked as a store is."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def url(self, prefix):
        return f"file://{self.folder}/{prefix}"

    def config(self, prefix):
        return f'[warehouses.lake]\nurl = "{self.url(prefix)}"\n'

    def client_settings(self):
        return {}

    def own_settings(self, prefix):
        return {}

    def wrong_keys(self):
        return []

    def keys(self, prefix):
        return sorted(str(path.relative_to(self.folder)) for path in (self.folder / prefix).rglob("*") if path.is_file())

    def read(self, key):
        return (self.folder / key).read_bytes()

    def key_of(self, location):
        return str(Path(urlsplit(location).path).relative_to(self.folder))

    def stop(self):
        pass


class S3:
    """What SeaweedFS and MinIO have in common: a bucket `plain`, one pair of keys, and keys lent by an STS."""

    bucket = "plain"
    # Whether a bucket that is missing is made by the first put.
    makes_buckets = False
    role = None

    def client(self, keys=None):
        """A client of the store's own with these keys, or with the store's."""
        keys = keys or {"s3.access-key-id": KEY, "s3.secret-access-key": SECRET}
        return boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=keys["s3.access-key-id"], region_name="us-east-1",
            aws_secret_access_key=keys["s3.secret-access-key"], aws_session_token=keys.get("s3.session-token"),
            config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def url(self, prefix):
        return f"s3://{self.bucket}/{prefix}"

    def config(self, prefix, name="lake", more="", endpoint=None):
        return (
            f'[warehouses.{name}]\nurl = "{self.url(prefix)}"\nendpoint = "{endpoint or self.endpoint}"\nregion = "us-east-1"\n'
            f'path-style = true\naccess-key-id = "{KEY}"\nsecret-access-key = "{SECRET}"\n{more}\n'
        )

    def lends(self):
        """What makes a warehouse lend keys."""
        return f'sts-endpoint = "{self.endpoint}"\n' + (f'sts-role-arn = "{self.role}"\n' if self.role else "")

    def client_settings(self):
        return {"s3.access-key-id": KEY, "s3.secret-access-key": SECRET}

    def own_settings(self, prefix, write=False):
        """What one is told who is lent nothing: where the store is, and keys of his own that get, or get and put, what lies
        under a prefix and do no more."""
        under = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{self.bucket}/{prefix}/*"]}
        allowed = [under]
        if write:
            under["Action"].append("s3:PutObject")
            listed = {"StringLike": {"s3:prefix": f"{prefix}/*"}}
            allowed.append({"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{self.bucket}"], "Condition": listed})
        policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
        sts = boto3.client("sts", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET)
        role = self.role or "arn:aws:iam::000000000000:role/any"
        keys = sts.assume_role(RoleArn=role, RoleSessionName="own", Policy=policy)["Credentials"]
        return {
            "s3.endpoint": self.endpoint, "s3.region": "us-east-1", "s3.access-key-id": keys["AccessKeyId"],
            "s3.secret-access-key": keys["SecretAccessKey"], "s3.session-token": keys["SessionToken"],
        }

    def wrong_keys(self):
        return [("secret-access-key", SECRET, "not-the-secret"), ("access-key-id", KEY, "nobody")]

    def keys(self, prefix):
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def read(self, key):
        return self.client().get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def key_of(self, location):
        return urlsplit(location).path.lstrip("/")

    def stop(self):
        self.process.kill()


class SeaweedFS(S3):
    """A SeaweedFS that lends keys of one role."""

    makes_buckets = True
    role = "arn:aws:iam::000000000000:role/vend"

    def __init__(self, folder, longest="12h"):
        """Keys are lent for `longest` at most."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.longest = longest
        names = [
            "s3.port", "s3.port.iceberg", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port",
            "volume.port.grpc", "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc", "s3.port.lance",
        ]
        ports = dict(zip(names, free_ports(len(names))))
        self.endpoint = f"http://127.0.0.1:{ports['s3.port']}"
        iam = folder.with_suffix(".json")
        iam.write_text(json.dumps(self.iam()))
        command = [
            Path(sys.executable).parent / "weed", "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1", "-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-tableBucket=warehouse",
            f"-bucket={self.bucket}", f"-s3.iam.config={iam}", *(f"-{name}={port}" for name, port in ports.items()),
        ]
        env = {**os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        self.process = Process(command, folder.with_suffix(".log"), env=env)
        self.process.wait_for("SeaweedFS", self.ready, seconds=60)

    def iam(self):
        def allow(**what):
            return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **what}]}

        role = {
            "roleName": "vend", "roleArn": self.role, "attachedPolicies": ["all"],
            "trustPolicy": allow(Principal={"AWS": "*"}, Action=["sts:AssumeRole"]),
        }
        return {
            "sts": {
                "tokenDuration": "1h", "maxSessionLength": self.longest, "issuer": "seaweedfs-sts",
                "signingKey": base64.b64encode(b"harness-signs-tokens-with-32-byt").decode(),
            },
            "policy": {"defaultEffect": "Deny", "storeType": "memory"},
            "roles": [role],
            "policies": [{"name": "all", "document": allow(Action=["s3:*"], Resource=["*"])}],
        }

    def ready(self):
        if not answers(self.endpoint, (200, 403)):
            return False
        try:
            return self.bucket in [bucket["Name"] for bucket in self.client().list_buckets()["Buckets"]]
        except Exception:
            return False


class MinIO(S3):
    """A MinIO, which lends keys of whatever role."""

    def __init__(self, folder):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        port = free_ports(1)[0]
        self.endpoint = f"http://127.0.0.1:{port}"
        env = {
            **os.environ, "MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off", "MINIO_CALLHOME_ENABLE": "off", "MINIO_REGION": "us-east-1",
        }
        command = [CACHE / "bin/minio", "server", "--address", f"127.0.0.1:{port}", "--quiet", folder]
        self.process = Process(command, folder.with_suffix(".log"), env=env)
        self.process.wait_for("MinIO", lambda: answers(f"{self.endpoint}/minio/health/ready"), seconds=60)
        self.client().create_bucket(Bucket=self.bucket)


class Emulator:
    """What the emulators have in common: an `object` is asked for with a request of its own kind."""

    makes_buckets = False

    def read(self, key):
        answer = self.object(key)
        assert answer.status_code == 200, answer.text
        return answer.content

    def key_of(self, location):
        return urlsplit(location).path.lstrip("/")

    def stop(self):
        self.process.kill()


class Azurite(Emulator):
    """An emulator of Azure's blob store, with one account and one container."""

    account, container = "harness", "plain"
    key = base64.b64encode(SECRET.encode()).decode()

    def __init__(self, folder):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        port = free_ports(1)[0]
        self.authority = f"127.0.0.1:{port}"
        self.endpoint = f"http://{self.authority}/{self.account}"
        command = [
            CACHE / "azurite/node_modules/.bin/azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", port,
            "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent",
        ]
        env = {**os.environ, "AZURITE_ACCOUNTS": f"{self.account}:{self.key}"}
        self.process = Process(command, folder.with_suffix(".log"), env=env, cwd=folder)
        self.process.wait_for("Azurite", lambda: answers(self.endpoint, range(400, 500)), seconds=60)
        made = self.ask("PUT", "", restype="container")
        assert made.status_code == 201, made.text

    def ask(self, method, path, **query):
        """A request signed with the account's key."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        path = f"/{self.account}/{self.container}" + (f"/{quote(path)}" if path else "")
        named = "".join(f"\n{name}:{value}" for name, value in sorted(headers.items())).lstrip()
        # Eleven headers that these requests do not have come between the method and their own.
        asked = "".join(f"\n{name}:{value}" for name, value in sorted(query.items()))
        text = f"{method}{chr(10) * 12}{named}\n/{self.account}{path}{asked}"
        signature = hmac.new(base64.b64decode(self.key), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {self.account}:{base64.b64encode(signature).decode()}"
        return requests.request(method, f"http://{self.authority}{path}", params=query, headers=headers, timeout=30)

    def url(self, prefix):
        return f"abfss://{self.container}@{self.account}.dfs.core.windows.net/{prefix}"

    def config(self, prefix):
        return f'[warehouses.lake]\nurl = "{self.url(prefix)}"\nendpoint = "{self.endpoint}"\naccount-key = "{self.key}"\n'

    def client_settings(self):
        return {
            "py-io-impl": "stores.AzureFileIO", "adls.account-name": self.account, "adls.account-key": self.key,
            "adls.blob-storage-authority": self.authority, "adls.blob-storage-scheme": "http",
            "adls.dfs-storage-authority": self.authority, "adls.dfs-storage-scheme": "http",
        }

    def wrong_keys(self):
        return [("account-key", self.key, base64.b64encode(b"not the key").decode())]

    def keys(self, prefix):
        answer = self.ask("GET", "", restype="container", comp="list", prefix=prefix)
        assert answer.status_code == 200, answer.text
        # The answer begins with a mark of byte order, which `text` would keep.
        return [name.text for name in ElementTree.fromstring(answer.content).iter("Name")]

    def object(self, key):
        return self.ask("GET", key)


class AzureFileIO(PyArrowFileIO):
    """PyIceberg's, which hands Arrow the whole of `container@account.dfs.core.windows.net` where it wants the container."""

    @staticmethod
    def parse_location(location, properties={}):
        scheme, netloc, path = PyArrowFileIO.parse_location(location, properties)
        container = netloc.split("@")[0]
        return scheme, container, container + path.removeprefix(netloc)


class FakeGcs(Emulator):
    """An emulator of Google's store, and before it a proxy for the interface that it has only in part."""

    bucket = "plain"

    def __init__(self, folder):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        port = free_ports(1)[0]
        self.authority = f"127.0.0.1:{port}"
        self.json = f"http://{self.authority}/storage/v1/b"
        command = [
            CACHE / "bin/fake-gcs-server", "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory",
            "-public-host", self.authority, "-external-url", f"http://{self.authority}", "-log-level", "warn",
        ]
        self.process = Process(command, folder.with_suffix(".log"), cwd=folder)
        self.process.wait_for("fake-gcs-server", lambda: answers(f"{self.json}?project=p"), seconds=60)
        made = requests.post(f"{self.json}?project=p", json={"name": self.bucket}, timeout=30)
        assert made.status_code == 200, made.text
        self.proxy = XmlInterface(self.authority)
        self.endpoint = self.proxy.endpoint

    def url(self, prefix):
        return f"gs://{self.bucket}/{prefix}"

    def config(self, prefix):
        account = {"private_key": "", "private_key_id": "", "client_email": "", "disable_oauth": True}
        return (
            f'[warehouses.lake]\nurl = "{self.url(prefix)}"\nendpoint = "{self.endpoint}"\n'
            f"service-account = '{json.dumps(account)}'\n"
        )

    def client_settings(self):
        # Whatever token: the emulator asks for none.
        in_a_day = str(int((time.time() + 86_400) * 1_000))
        return {
            "gcs.service.host": f"http://{self.authority}", "gcs.oauth2.token": "any",
            "gcs.oauth2.token-expires-at": in_a_day,
        }

    def wrong_keys(self):
        # It asks for none.
        return []

    def keys(self, prefix):
        answer = requests.get(f"{self.json}/{self.bucket}/o", params={"prefix": prefix}, timeout=30)
        assert answer.status_code == 200, answer.text
        return [item["name"] for item in answer.json().get("items", [])]

    def object(self, key):
        return requests.get(f"{self.json}/{self.bucket}/o/{quote(key, safe='')}?alt=media", timeout=30)

    def stop(self):
        self.proxy.down()
        super().stop()


class XmlInterface(Relay):
    """Google's XML interface over the emulator's JSON one: puts, whole (honouring create-only) and in parts, and deletes."""

    def __init__(self, upstream):
        self.uploads = {}
        super().__init__(upstream)

    def answer(self, request):
        url = urlsplit(request.target)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        request.headers = [(name, value) for name, value in request.headers if name.lower() not in ("host", "authorization")]
        request.headers.append(("Host", self.upstream))
        if "uploads" in query or "uploadId" in query:
            return self.in_parts(request, bucket, key, query)
        if key and request.method == "PUT":
            return self.put(request, bucket, key)
        if key and request.method == "DELETE":
            request.target = f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}"
        # The rest it understands as it is.
        return self.forward(request)

    def put(self, request, bucket, key):
        only = request.header("x-goog-if-generation-match")
        condition = "" if only is None else f"&ifGenerationMatch={only}"
        request.method = "POST"
        request.target = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(key, safe='')}{condition}"
        answer = self.forward(request)
        if answer.status == 404:
            # Google names what is missing: of a put it can only be the bucket.
            answer.body = b"<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist.</Message></Error>"
        if answer.status != 200:
            return answer
        made = json.loads(answer.body)
        return Message([("ETag", f'"{made["etag"]}"'), ("x-goog-generation", made["generation"])], b"", status=200)

    def in_parts(self, request, bucket, key, query):
        if request.method == "POST" and "uploads" in query:
            upload = f"upload-{len(self.uploads)}"
            self.uploads[upload] = {}
            said = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            return Message([], said.encode(), status=200)
        parts = self.uploads[query["uploadId"]]
        if request.method == "PUT":
            parts[int(query["partNumber"])] = request.body
            return Message([("ETag", f'"{query["partNumber"]}"')], b"", status=200)
        if request.method == "DELETE":
            parts.clear()
            return Message([], b"", status=204)
        request.body = b"".join(part for _, part in sorted(parts.items()))
        answer = self.put(request, bucket, key)
        etag = answer.header("etag")
        answer.body = f"<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>".encode()
        return answer
