"""iceberg-js, the JavaScript client, lives through the catalog; PyIceberg writes into the table it leaves."""

import json
import subprocess
from datetime import datetime, timezone
from decimal import Decimal

import pyarrow as pa

from conftest import CACHE, every_door


@every_door
def test_iceberg_js_lives(lake, request):
    namespace = f"js_{request.node.callspec.id}"
    given = {**lake.client_settings(), "namespace": namespace}
    if lake.reader:
        given["reader"] = lake.reader.secret
    command = ["node", CACHE / "javascript" / "life.mjs", json.dumps(given)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr

    catalog = lake.pyiceberg()
    table = catalog.load_table(f"{namespace}.left")
    row = {"id": 1, "at": datetime(2024, 1, 1, tzinfo=timezone.utc), "price": Decimal("1.50"), "tags": ["a", "b"]}
    table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))
    assert catalog.load_table(f"{namespace}.left").scan().to_arrow().to_pylist() == [row]
    catalog.purge_table(f"{namespace}.left")
    catalog.drop_namespace(namespace)
