"""A floeberg that delegates, with a warehouse for each way, and tables in it as a client over HTTP meets them."""

import hashlib
from urllib.parse import quote, urlsplit

import requests
from pyiceberg.catalog import load_catalog

from conftest import Guarded
from stores import SECRET

WAYS = {
    "signed": 'delegation = "signed"\n', "static": 'delegation = "static"\n', "own": 'delegation = "none"\n',
}
SCHEMA = {"type": "struct", "fields": [{"id": 1, "name": "id", "required": False, "type": "long"}]}


def says_the_secret(answer):
    return SECRET in answer.text or any(SECRET in value for value in answer.headers.values())


class Delegating(Guarded):
    """A floeberg with a warehouse for each way of delegation."""

    def __init__(self, folder, store):
        # What is signed is signed with lent keys too.
        warehouses = {**WAYS, "signed": WAYS["signed"] + store.lends(), "lent": store.lends()}
        blocks = [store.config(f"delegation/{name}", name, more) for name, more in warehouses.items()]
        top = 'auth = "token"\nbase-path = "/some/lake"\ndefault-warehouse = "own"\n'
        super().__init__(folder, top + "".join(blocks), store)

    def namespace(self, name):
        """A fresh namespace in every warehouse."""
        for warehouse in ["lent", *WAYS]:
            self.ask("POST", "namespaces", warehouse, json={"namespace": [name]})
        return name

    def ask(self, method, path, warehouse, right="write", asked=None, wanted=200, **more):
        """A request under `/v1`, of the warehouse by its prefix."""
        prefix = "" if warehouse == "own" else f"{warehouse}/"
        headers = {"Authorization": f"Bearer {self.secrets[right]}", **more.pop("headers", {})}
        if asked:
            headers["X-Iceberg-Access-Delegation"] = asked
        url = f"{self.catalog_url}/v1/{prefix}{path}"
        answer = requests.request(method, url, headers=headers, timeout=60, **more)
        assert answer.status_code == wanted, (answer.status_code, answer.text[:2000])
        assert warehouse == "static" or not says_the_secret(answer), "the answer holds the server's own secret key"
        return answer

    def sign(self, table, method, uri, headers=None, body=None, right="write", wanted=200, warehouse="signed"):
        request = {
            "method": method, "uri": uri, "region": "us-east-1",
            "headers": {name: value if isinstance(value, list) else [value] for name, value in (headers or {}).items()},
            **({"body": body} if body is not None else {}),
        }
        answer = self.ask("POST", f"{table.path}/sign", warehouse, right, json=request, wanted=wanted)
        return answer.json()

    def send(self, table, method, uri, body=b"", headers=None, right="write", shown=False):
        """A request signed by the catalog and sent to the store."""
        headers = {"x-amz-content-sha256": hashlib.sha256(body).hexdigest(), **(headers or {})}
        signed = self.sign(table, method, uri, headers, body.decode() if shown else None, right)
        flat = {name: ", ".join(values) for name, values in signed["headers"].items()}
        return requests.request(method, signed["uri"], headers=flat, data=body, timeout=60)

    def client_settings(self, warehouse="lent", right="write"):
        return {"uri": self.catalog_url, "warehouse": warehouse, "token": self.secrets[right]}

    def pyiceberg(self, warehouse="lent", right="write", **more):
        return load_catalog("floeberg", type="rest", **self.client_settings(warehouse, right), **more)


class Table:
    """A table made over HTTP, and what a client that asked was told of it."""

    def __init__(self, server, namespace, name, warehouse, asked="vended-credentials", **more):
        self.server, self.warehouse = server, warehouse
        self.path = f"namespaces/{namespace}/tables/{name}"
        body = {"name": name, "schema": SCHEMA, **more}
        self.loaded = server.ask("POST", f"namespaces/{namespace}/tables", warehouse, asked=asked, json=body).json()
        self.config = self.loaded["config"]
        self.location = self.loaded["metadata"]["location"]
        self.bucket, self.folder = urlsplit(self.location).netloc, urlsplit(self.location).path.lstrip("/")

    def keys(self, right="write"):
        return self.server.ask("GET", self.path, self.warehouse, right, asked="vended-credentials").json()["config"]

    def uri(self, rest="", folder=None):
        return f"{self.server.store.endpoint}/{self.bucket}/{quote(folder or self.folder)}{rest}"
