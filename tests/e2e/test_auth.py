"""PyIceberg and DuckDB through tokens: as a bearer, and as an OAuth client; two warehouses behind a path."""

import pyarrow as pa
import pytest
import requests
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import ForbiddenError, UnauthorizedError

from conftest import duckdb_with_extensions


def rows(count):
    return pa.table({"id": pa.array(range(count), pa.int64())})


@pytest.mark.parametrize("how", ["token", "credential"])
def test_pyiceberg_comes_in(guarded, how):
    url, secrets = guarded.catalog_url, guarded.secrets
    catalog = load_catalog("c", type="rest", uri=url, warehouse="second", **{how: secrets["write"]})
    catalog.create_namespace(f"py_{how}")
    table = catalog.create_table(f"py_{how}.t", schema=rows(1).schema)
    table.append(rows(10))
    assert table.location().split("/")[-3] == "second"
    reader = load_catalog("c", type="rest", uri=url, warehouse="second", **{how: secrets["read"]})
    assert reader.load_table(f"py_{how}.t").scan().to_arrow().num_rows == 10
    with pytest.raises(ForbiddenError):
        reader.create_namespace("not_mine")
    first = load_catalog("c", type="rest", uri=url, **{how: secrets["read"]})
    assert not first.namespace_exists(f"py_{how}")


def test_a_wrong_secret_is_told(guarded):
    url = guarded.catalog_url
    with pytest.raises(UnauthorizedError):
        load_catalog("c", type="rest", uri=url, token="flo_wrong").list_namespaces()
    assert requests.post(f"{url}/ingest/v1/a/b", json=[{"id": 1}], timeout=60).status_code == 401


def test_duckdb_comes_in(guarded):
    url, secrets = guarded.catalog_url, guarded.secrets
    ways = {
        "token": f"TOKEN '{secrets['write']}'",
        "oauth": f"CLIENT_ID 'write', CLIENT_SECRET '{secrets['write']}', OAUTH2_SCOPE 'catalog', "
        f"OAUTH2_SERVER_URI '{url}/v1/oauth/tokens'",
    }
    for name, secret in ways.items():
        duck = duckdb_with_extensions()
        duck.sql(f"CREATE SECRET s (TYPE iceberg, {secret})")
        duck.sql(f"ATTACH 'second' AS lake (TYPE iceberg, ENDPOINT '{url}', SECRET s, ACCESS_DELEGATION_MODE 'none')")
        duck.sql(f"CREATE SCHEMA lake.duck_{name}")
        duck.sql(f"CREATE TABLE lake.duck_{name}.t AS SELECT range AS id FROM range(5)")
        duck.sql(f"INSERT INTO lake.duck_{name}.t VALUES (7)")
        assert duck.sql(f"SELECT sum(id), count(*) FROM lake.duck_{name}.t").fetchone() == (17, 6)
        duck.close()
