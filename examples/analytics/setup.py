#!/usr/bin/env python3
"""Makes the four tables of the example and says what becomes of their rows at the door. Standard library only.

    python3 examples/analytics/setup.py            FLOEBERG_URL, FLOEBERG_TOKEN: of which server, and with which token

The tables are made as Iceberg's clients make them, so that their types and partitions are right before the first row comes: what
rows alone say would make `date` a text. A table that is there stays as it is; its rules are set again. The rules are those of
`rules/*.json`. Anything that the server refuses ends the program with what it said.
"""

import json
import os
import pathlib
import sys
import urllib.error
import urllib.request

NAMESPACE = "analytics"
# By table: columns with their types, those with a * may be null; then what it is partitioned by; then its properties.
STRICT = {"floeberg.ingest.schema": "strict"}
# A function's log may hold anything. What does not fit is put, masked and redacted, into <table>__rejected, and the rest goes on.
LOG = {**STRICT, "floeberg.ingest.on-error": "dlq"}
TABLES = {
    "invocations": (
        "invocation_id string, function_id string, language string, version string, started_at timestamptz, duration_ms double, "
        "success boolean, error_type string*, error_message string*, cold_start boolean, memory_used_bytes long, client_ip string*, "
        "region string, colo string, date date, hour int",
        ["date", "hour"],
        LOG,
    ),
    "rate_limits": (
        "event_id string, function_id string, client_ip string*, occurred_at timestamptz, limit_type string, limit_value long, "
        "region string, colo string, date date",
        ["date"],
        STRICT,
    ),
    "deployments": (
        "deployment_id string, function_id string, version string, previous_version string*, deployed_at timestamptz, "
        "deployed_by string, code_size_bytes long, source_map_size_bytes long*, status string, rollback_reason string*, date date",
        ["date"],
        STRICT,
    ),
    "errors": (
        "error_id string, invocation_id string, function_id string, occurred_at timestamptz, error_type string, "
        "error_message string*, stack_trace string*, language string, version string, date date",
        ["date"],
        LOG,
    ),
}


def request(method, path, body):
    """The status and the answer's text."""
    headers = {"content-type": "application/json"}
    if os.environ.get("FLOEBERG_TOKEN"):
        headers["authorization"] = f"Bearer {os.environ['FLOEBERG_TOKEN']}"
    url = os.environ.get("FLOEBERG_URL", "http://127.0.0.1:8181") + path
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers, method=method), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode(errors="replace")
    except OSError as fault:
        sys.exit(f"{url} does not answer: {fault}")


def made(path, what):
    """Whether it was made now; it may have been there."""
    status, answer = request("POST", path, json.dumps(what))
    if status not in (200, 409):
        sys.exit(f"{path}: {status} {answer}")
    return status == 200


def description(name):
    columns, partitions, properties = TABLES[name]
    fields, ids = [], {}
    for id, column in enumerate(columns.split(", "), 1):
        column, type = column.split(" ")
        ids[column] = id
        fields.append({"id": id, "name": column, "required": not type.endswith("*"), "type": type.rstrip("*")})
    parts = [
        {"source-id": ids[column], "field-id": 1000 + at, "name": column, "transform": "identity"} for at, column in enumerate(partitions)
    ]
    return {
        "name": name,
        "schema": {"type": "struct", "schema-id": 0, "fields": fields},
        "partition-spec": {"spec-id": 0, "fields": parts},
        "properties": properties,
    }


def main():
    made("/v1/namespaces", {"namespace": [NAMESPACE]})
    for name in TABLES:
        new = made(f"/v1/namespaces/{NAMESPACE}/tables", description(name))
        rules = pathlib.Path(__file__).with_name("rules") / f"{name}.json"
        status, answer = request("PUT", f"/manage/v1/namespaces/{NAMESPACE}/tables/{name}/ingest-rules", rules.read_text())
        if status != 200:
            sys.exit(f"{rules}: {status} {answer}")
        print(f"{NAMESPACE}.{name}: {'made' if new else 'is there'}, {len(json.loads(answer)['rules'])} rules")


if __name__ == "__main__":
    main()
