"""What Schemathesis is told beyond our OpenAPI document, as its hooks: names that exist, and what stands inside bodies.

The document calls a schema, an update or a row an object. Objects made up from that are all refused at the door, so their
shapes are spelled out here, narrowly: Schemathesis breaks them itself, one place at a time, where it tries what is wrong.
What the document says of answers is left as it is. What a request takes away is put back after it.
"""

import json
import os
import uuid

import requests
import schemathesis
from hypothesis import strategies

URL, TOKEN = os.environ["E2E_URL"], os.environ["FLOEBERG_TOKEN"]
# A place in the warehouse where nothing is.
INSIDE = f"{os.environ['E2E_WAREHOUSE']}/inside"
# Where warehouses may be made.
MORE = os.environ["E2E_WAREHOUSE"].removesuffix("first") + "more"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}

PATHS = {
    "namespace": ["ns", "ns\x1finner", "gone"],
    "table": ["rows", "empty", "gone"],
    "view": ["v", "gone"],
    "function": ["f", "gone"],
    # That of every table without snapshots.
    "plan-id": ["empty", "gone"],
    # Of a warehouse.
    "name": ["kept", "spare", "first", "gone"],
}


def one_of(*values):
    return {"enum": list(values)}


def either(*schemas):
    return {"anyOf": list(schemas)}


def record(needed, **more):
    return {"type": "object", "properties": {**needed, **more}, "required": list(needed), "additionalProperties": False}


def some(items, least=0, most=2):
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def tagged(tag, **members):
    """A record for each member, told apart by the member's name under `tag`."""
    return either(*(record({tag: one_of(name.replace("_", "-")), **needed}) for name, needed in members.items()))


ANY = {"type": "string"}
LOCATION = one_of(INSIDE, "file:///elsewhere", "s3://elsewhere/x", "relative")
FLAG = {"type": "boolean"}
# Small numbers are ids that exist; the others are the edges of their types. What Schemathesis starts from is the least of
# them, so that one should be good.
ID = one_of(0, 1, -1, 2, 3, 1000, 1001, 2**31 - 1)
LONG = one_of(1, 2, 3, 2**31, 2**63 - 1, -1, -(2**63))
LATER = one_of(4_102_444_800_000, 4_102_444_800_001, 2**63 - 1, -(2**63))
NAME = one_of("id", "at", "text", "a", "main")
WORDS = {"type": "object", "additionalProperties": ANY, "maxProperties": 3}
PROPERTIES = either(
    WORDS,
    record({}, **{
        "format-version": one_of("1", "2", "3"),
        "write.metadata.previous-versions-max": one_of("1", "0", "x"),
        "write.metadata.compression-codec": one_of("gzip", "none", "zstd"),
        "history.expire.max-snapshot-age-ms": one_of("1", "-1", "x"),
        "version.history.num-entries": one_of("1", "0", "x"),
        "comment": ANY,
    }),
)
FRESH = {"type": "string", "pattern": "^[a-z]{1,3}$"}
LEVELS = either(one_of(["ns"], ["ns", "inner"]), one_of(["ns"]), some(FRESH, 1, 2))
PLAIN = one_of(
    "boolean", "int", "long", "float", "double", "decimal(9,2)", "date", "time", "timestamp", "timestamptz", "string",
    "uuid", "fixed[8]", "binary", "timestamp_ns", "timestamptz_ns", "variant", "unknown", "geometry",
)


def field(kind):
    value = one_of(0, 2**63, "a", 1.5, None, True, [])
    needed = {"id": ID, "name": NAME, "required": FLAG, "type": kind}
    return record(needed, doc=ANY, **{"initial-default": value, "write-default": value})


NESTED = either(
    PLAIN,
    tagged(
        "type",
        struct={"fields": some(field(PLAIN))},
        list={"element-id": ID, "element": PLAIN, "element-required": FLAG},
        map={"key-id": ID, "key": PLAIN, "value-id": ID, "value": PLAIN, "value-required": FLAG},
    ),
)


def columns(*kinds):
    fields = [{"id": i, "name": name, "required": False, "type": kind} for i, (name, kind) in enumerate(kinds, 1)]
    return {"type": "struct", "schema-id": 0, "identifier-field-ids": [], "fields": fields}


COLUMNS = columns(("id", "long"), ("at", "timestamptz"), ("text", "string"))
MORE_COLUMNS = columns(("id", "long"), ("at", "timestamptz"), ("text", "string"), ("a", "date"))
SCHEMA = either(
    one_of(COLUMNS, columns(("id", "int")), MORE_COLUMNS),
    record(
        {"type": one_of("struct"), "fields": some(field(NESTED))},
        **{"schema-id": ID, "identifier-field-ids": some(ID, 0, 1)},
    ),
)
TRANSFORM = one_of("identity", "void", "bucket[4]", "truncate[2]", "year", "month", "day", "hour", "bucket[0]", "odd")
BY_DAY = {"spec-id": 0, "fields": [{"source-id": 2, "field-id": 1000, "transform": "day", "name": "day"}]}
BY_ID = {
    "order-id": 1,
    "fields": [{"source-id": 1, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}],
}
SPEC = either(
    one_of(BY_DAY, {"fields": []}),
    record(
        {"fields": some(record({"source-id": ID, "transform": TRANSFORM, "name": NAME}, **{"field-id": ID}))},
        **{"spec-id": ID},
    ),
)
DIRECTIONS = {"direction": one_of("asc", "desc"), "null-order": one_of("nulls-first", "nulls-last")}
ORDER = either(
    one_of(BY_ID, {"fields": []}),
    record({"fields": some(record({"source-id": ID, "transform": TRANSFORM, **DIRECTIONS}))}, **{"order-id": ID}),
)
SNAPSHOT = record(
    {
        "snapshot-id": LONG, "sequence-number": LATER, "timestamp-ms": LATER,
        "summary": either(record({"operation": one_of("append", "delete")}), WORDS),
        "manifest-list": LOCATION,
    },
    **{"parent-snapshot-id": LONG, "schema-id": ID, "first-row-id": LONG, "added-rows": LONG},
)
AGES = {"min-snapshots-to-keep": LONG, "max-snapshot-age-ms": LONG, "max-ref-age-ms": LONG}
SIZES = {"snapshot-id": LONG, "statistics-path": LOCATION, "file-size-in-bytes": LONG}
STATISTICS = record({**SIZES, "file-footer-size-in-bytes": LONG, "blob-metadata": some({"type": "object"}, 0, 1)})
UUID = one_of("018f0000-0000-7000-8000-000000000000", "odd")
DESCRIPTION = {
    "set_properties": {"updates": PROPERTIES},
    "remove_properties": {"removals": some(NAME)},
    "add_schema": {"schema": SCHEMA},
    "assign_uuid": {"uuid": UUID},
    "upgrade_format_version": {"format-version": ID},
    "set_location": {"location": LOCATION},
}
REF = {"action": one_of("set-snapshot-ref"), "ref-name": NAME, "snapshot-id": LONG}
CHANGES = tagged(
    "action",
    **DESCRIPTION,
    set_current_schema={"schema-id": ID},
    add_spec={"spec": SPEC},
    set_default_spec={"spec-id": ID},
    add_sort_order={"sort-order": ORDER},
    set_default_sort_order={"sort-order-id": ID},
    add_snapshot={"snapshot": SNAPSHOT},
    remove_snapshots={"snapshot-ids": some(LONG)},
    remove_snapshot_ref={"ref-name": NAME},
    set_statistics={"snapshot-id": LONG, "statistics": STATISTICS},
    remove_statistics={"snapshot-id": LONG},
    set_partition_statistics={"partition-statistics": record(SIZES)},
    remove_partition_statistics={"snapshot-id": LONG},
    remove_partition_specs={"spec-ids": some(ID)},
    remove_schemas={"schema-ids": some(ID)},
    add_encryption_key={"encryption-key": record({"key-id": NAME, "encrypted-key-metadata": NAME})},
    remove_encryption_key={"key-id": NAME},
)
UPDATE = either(
    *CHANGES["anyOf"],
    record({**REF, "type": one_of("branch")}, **AGES),
    record({**REF, "type": one_of("tag")}, **{"max-ref-age-ms": LONG}),
)
NUMBERS = [
    "last-assigned-field-id", "current-schema-id", "last-assigned-partition-id", "default-spec-id", "default-sort-order-id",
]
REQUIREMENT = tagged(
    "type",
    assert_create={},
    assert_table_uuid={"uuid": UUID},
    assert_view_uuid={"uuid": UUID},
    assert_ref_snapshot_id={"ref": NAME, "snapshot-id": one_of(None, 1, -1)},
    **{f"assert-{what}": {what: ID} for what in NUMBERS},
)
VIEW_REQUIREMENT = tagged("type", assert_view_uuid={"uuid": UUID}, assert_table_uuid={"uuid": UUID})
QUERY_TEXT = record({"type": one_of("sql"), "sql": ANY, "dialect": one_of("spark", "SPARK", "duckdb")})
VERSION = record(
    {
        "version-id": ID, "timestamp-ms": LONG, "schema-id": one_of(-1, 0, 1), "summary": WORDS,
        "default-namespace": LEVELS, "representations": some(QUERY_TEXT, 1),
    },
    **{"default-catalog": NAME},
)
VIEW_UPDATE = tagged(
    "action", **DESCRIPTION, add_view_version={"view-version": VERSION}, set_current_view_version={"view-version-id": ID}
)
FUNCTION_VERSION = {"version-id": ID, "timestamp-ms": LONG, "deterministic": FLAG, "representations": some(QUERY_TEXT, 1)}
DEFINITION = record({
    "definition-id": one_of("(int)", "odd"), "parameters": some(record({"name": NAME, "type": PLAIN})), "return-type": PLAIN,
    "function-type": one_of("udf", "udtf"), "current-version-id": ID, "versions": some(record(FUNCTION_VERSION), 1),
})
LOGGED = record({"definition-id": one_of("(int)", "odd"), "version-id": ID})
LOG = record({"timestamp-ms": LONG, "definition-versions": some(LOGGED)})
FUNCTION = record({
    "function-uuid": UUID, "format-version": one_of(1), "definitions": some(DEFINITION, 1), "definition-log": some(LOG),
})
INSTANT = one_of("2024-01-01T10:00:00Z", "2024-02-30T00:00:00Z", "-9999-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")
ROW = either(
    record({"id": LONG}, at=INSTANT, text=ANY),
    record({"id": LONG, "at": INSTANT}, more=either({"type": "number"}, some(ID), WORDS, FLAG)),
    {"type": "object", "maxProperties": 3},
)
LINES = "rows-line-by-line"
QUERY = {
    "ack": ["commit"],
    "partition_by": ["day(at)", "bucket(4,id)", "truncate(2,text),hour(at)", "bucket(0,id)", ""],
    "sort_by": ["id", "at desc nulls last,id", ""],
    "time_precision": ["truncate"],
    # A shorter time may be over before the commit, which is a 504 and meant to be one.
    "timeout": ["60s", "1h"],
    "warehouse": ["first", "second", ""],
    "snapshots": ["all", "refs"],
    "parent": ["ns", "ns\x1finner", ""],
    "pageToken": ["", "a61"],
    "pageSize": [1, 2, 2**31 - 1],
}

# What is made at the start, and again where it was taken away.
SPARK = {"type": "sql", "dialect": "spark", "sql": "a + 1"}
A_FUNCTION = {
    "function-uuid": UUID["enum"][0], "format-version": 1,
    "definitions": [{
        "definition-id": "(int)", "parameters": [{"name": "a", "type": "int"}], "return-type": "int",
        "function-type": "udf", "current-version-id": 1,
        "versions": [{"version-id": 1, "timestamp-ms": 1, "deterministic": True, "representations": [SPARK]}],
    }],
    "definition-log": [{"timestamp-ms": 1, "definition-versions": [{"definition-id": "(int)", "version-id": 1}]}],
}
A_VERSION = {
    "version-id": 1, "timestamp-ms": 1, "schema-id": -1, "summary": {}, "default-namespace": ["ns"],
    "representations": [SPARK],
}
A_VIEW = {"name": "v", "schema": COLUMNS, "properties": {}, "view-version": A_VERSION}
A_TABLE = {"name": "empty", "schema": COLUMNS, "partition-spec": BY_DAY, "write-order": BY_ID, "properties": {}}
LITERAL = one_of(0, 1, -1, 1.5, True, "a", "2024-01-01", "2024-01-01T10:00:00+00:00", 2**63, None)
TERM = either(NAME, record({"type": one_of("transform"), "transform": TRANSFORM, "term": NAME}))
TESTS = either(
    one_of(True, False, {"type": "odd"}),
    record({"type": one_of("is-null", "not-null", "is-nan", "not-nan"), "term": TERM}),
    record({"type": one_of("lt", "lt-eq", "gt", "gt-eq", "eq", "not-eq", "starts-with"), "term": TERM, "value": LITERAL}),
    record({"type": one_of("in", "not-in"), "term": TERM, "values": some(LITERAL)}),
)
FILTER = either(
    TESTS,
    record({"type": one_of("and", "or"), "left": TESTS, "right": TESTS}),
    record({"type": one_of("not"), "child": TESTS}),
)

ROWS = [{"id": 1, "at": "2024-01-01T10:00:00Z", "text": "a"}]
COMMENT = {"action": "set-properties", "updates": {"comment": "a"}}
TAKES = {"drop_namespace", "drop_table", "unregister_table", "rename_table", "drop_view", "rename_view", "drop_function", "remove_warehouse"}


def send(verb, path, body=None):
    return requests.request(verb, URL + path, json=body, headers=HEADERS, timeout=30)


def seed():
    """In two namespaces: a table with rows and one without, a view, a function. In a third nothing."""
    send("POST", "/v1/namespaces", {"namespace": ["hollow"]})
    send("POST", "/manage/v1/warehouses", {"name": "kept", "url": f"{MORE}/kept"})
    for levels in (["ns"], ["ns", "inner"]):
        where = "%1F".join(levels)
        send("POST", "/v1/namespaces", {"namespace": levels})
        if not has_rows(where):
            send("DELETE", f"/v1/namespaces/{where}/tables/rows")
            send("POST", f"/ingest/v1/{where}/rows?partition_by=day(at)&sort_by=id", ROWS)
        send("POST", f"/v1/namespaces/{where}/tables", A_TABLE)
        send("POST", f"/v1/namespaces/{where}/views", A_VIEW)
        send("PUT", f"/manage/v1/namespaces/{where}/functions/f", A_FUNCTION)
    # The same again is answered the same.
    keyed = {**HEADERS, "Idempotency-Key": "seeded"}
    requests.post(f"{URL}/ingest/v1/ns/keyed", json=ROWS, headers=keyed, timeout=30)


def has_rows(where):
    loaded = send("GET", f"/v1/namespaces/{where}/tables/rows")
    return loaded.status_code == 200 and loaded.json()["metadata"].get("snapshots")


def left_behind():
    """The metadata files of a table and of a view that are no longer known: they can be registered."""
    for kind, body in (("tables", A_TABLE), ("views", A_VIEW)):
        yield send("POST", f"/v1/namespaces/ns/{kind}", {**body, "name": "was"}).json()["metadata-location"]
        ending = ("POST", "/unregister") if kind == "tables" else ("DELETE", "")
        send(ending[0], f"/v1/namespaces/ns/{kind}/was{ending[1]}")


def planned():
    """The plan of a table that nothing else touches: it is a task of its own."""
    send("POST", "/ingest/v1/ns/planned", ROWS)
    return send("POST", "/v1/namespaces/ns/tables/planned/plan", {}).json()["plan-id"]


def identifier(name):
    return {"namespace": ["ns"], "name": name}


def renamed(name, other):
    return {"source": identifier(name), "destination": identifier(other)}


def bodies():
    """Of each schema of a body: its members, and one that is taken. Schemathesis leaves out what does not fit the members."""
    files = list(left_behind())
    task = planned()
    file = send("GET", "/v1/namespaces/ns/tables/planned").json()["metadata-location"]
    name = either(one_of("rows", "empty", "v"), FRESH)
    # Answers name tables too, with whatever stands in them: theirs is the document's.
    named = record({"namespace": LEVELS, "name": name})
    register = {"name": name, "metadata-location": one_of(*files, *LOCATION["enum"])}
    commit = {"requirements": [], "updates": [COMMENT]}
    parts = {"requirements": some(REQUIREMENT, 0, 1), "updates": some(UPDATE, 1)}
    # Another name than the path's is refused before anything is looked at.
    unnamed = {"identifier": {"type": "null"}}
    return {
        "CreateNamespaceRequest": ({"namespace": LEVELS, "properties": PROPERTIES}, {"namespace": ["new"]}),
        "UpdateNamespacePropertiesRequest": ({"removals": some(NAME), "updates": PROPERTIES}, {"updates": {"a": "b"}}),
        "CreateTableRequest": (
            {
                "name": name, "location": LOCATION, "schema": SCHEMA, "partition-spec": SPEC, "write-order": ORDER,
                "properties": PROPERTIES,
            },
            {**A_TABLE, "name": "new"},
        ),
        "RegisterTableRequest": (register, {"name": "ret", "metadata-location": files[0]}),
        "RegisterViewRequest": (register, {"name": "rev", "metadata-location": files[1]}),
        "RenameTableRequest": ({"source": named, "destination": named}, renamed("rows", "mot")),
        "CommitTableRequest": ({**unnamed, **parts}, commit),
        "CommitTransactionRequest": (
            {"table-changes": some(record({"identifier": named, **parts}), 1)},
            {"table-changes": [{"identifier": identifier("rows"), **commit}]},
        ),
        "CreateViewRequest": (
            {"name": name, "location": LOCATION, "schema": SCHEMA, "view-version": VERSION, "properties": PROPERTIES},
            {**A_VIEW, "name": "nev"},
        ),
        "CommitViewRequest": (
            {**unnamed, "requirements": some(VIEW_REQUIREMENT, 0, 1), "updates": some(VIEW_UPDATE, 1)}, commit
        ),
        "PlanTableScanRequest": (
            {"filter": FILTER, "select": some(NAME), "stats-fields": some(NAME)},
            {"filter": {"type": "eq", "term": "id", "value": 1}, "stats-fields": ["id"]},
        ),
        "FetchScanTasksRequest": ({"plan-task": one_of(task, task[:-3], "gone")}, {"plan-task": task}),
        "ReportMetricsRequest": (
            {"report-type": one_of("scan-report", "commit-report", "odd")}, {"report-type": "scan-report"}
        ),
        "WantedRollback": ({"metadata-location": one_of(file, "odd")}, {"metadata-location": file}),
        "WantedChanges": (
            {
                "changes": some(
                    either(
                        record({"op": one_of("add"), "column": NAME, "type": one_of("string", "long", "odd")}),
                        record({"op": one_of("widen", "rename"), "column": NAME, "to": one_of("long", "b", "odd")}),
                        record({"op": one_of("optional", "drop", "odd"), "column": NAME}),
                    ),
                )
            },
            # It is so, and can be said again and again.
            {"changes": [{"op": "optional", "column": "text"}]},
        ),
        "WantedToken": (
            {"right": one_of("read", "write", "admin"), "expires": either(INSTANT, {"type": "null"})},
            {"name": "a", "right": "read"},
        ),
        "OAuthTokenRequest": (
            {"grant_type": one_of("client_credentials"), "client_secret": one_of(TOKEN, "odd")},
            {"grant_type": "client_credentials", "client_secret": TOKEN},
        ),
    }


@schemathesis.hook
def before_load_schema(context, raw_schema):
    seed()
    schemas, paths = raw_schema["components"]["schemas"], raw_schema["paths"]
    taken = {}
    for name, (members, example) in bodies().items():
        known = schemas[name]["properties"]
        assert set(members) <= set(known), f"{name} has no {set(members) - set(known)}"
        known.update(members)
        taken[f"#/components/schemas/{name}"] = example
    for path in ("/ingest/v1/{namespace}/{table}", "/ingest/v1"):
        rows = paths[path]["post"]["requestBody"]["content"]
        rows["application/json"] = {"schema": either(ROW, some(ROW)), "example": ROWS}
        rows["application/x-ndjson"] = {"schema": {"type": "string", "format": LINES}, "example": json.dumps(ROWS[0])}
    function = paths["/manage/v1/namespaces/{namespace}/functions/{function}"]["put"]["requestBody"]["content"]
    function["application/json"] = {"schema": FUNCTION, "example": A_FUNCTION}
    for path, verb, name in (("", "post", "spare"), ("/{name}", "put", "kept")):
        url = one_of(f"{MORE}/kept", f"{MORE}/spare", INSIDE, "odd")
        more = {"name": one_of(name, "odd name"), "version-hint": FLAG, "delegation": one_of("auto", "none", "odd")}
        content = paths[f"/manage/v1/warehouses{path}"][verb]["requestBody"]["content"]["application/json"]
        content |= {"schema": record({"url": url}, **more), "example": {"name": name, "url": f"{MORE}/{name}"}}
    for operation in (operation for item in paths.values() for operation in item.values()):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            example = taken.get(content["schema"].get("$ref"))
            if example:
                content["example"] = example
        for parameter in operation.get("parameters", []):
            describe(parameter)
    of_planned = ("/v1/namespaces/{namespace}/tables/{table}/tasks", "/manage/v1/namespaces/{namespace}/tables/{table}/rollback")
    for parameter in (parameter for path in of_planned for parameter in paths[path]["post"]["parameters"]):
        if parameter["name"] == "table":
            parameter |= {"schema": one_of("planned", *PATHS["table"]), "example": "planned"}
    # A key or a producer is asked for, not both.
    for parameter in paths["/ingest/v1"]["get"]["parameters"]:
        asked = {"key": ["seeded", "gone"], "producer": ["nobody"], "table": ["ns.rows", "rows"]}.get(parameter["name"])
        if asked:
            parameter |= {"schema": one_of(*asked)}
        parameter.pop("example", None)
        if parameter["name"] == "key":
            parameter["example"] = "seeded"
    # One of several ways to say where rows belong is enough, and two are too many.
    for parameter in paths["/ingest/v1"]["post"]["parameters"]:
        if parameter["name"] == "X-Ingest-Route":
            parameter |= {"schema": one_of("ns.rows", "rows", "odd"), "example": "ns.rows"}
    # What others put something into cannot be dropped.
    hollow = paths["/v1/namespaces/{namespace}"]["delete"]["parameters"][0]
    hollow |= {"schema": one_of("hollow", *PATHS["namespace"]), "example": "hollow"}
    paths["/v1/views/rename"]["post"]["requestBody"]["content"]["application/json"]["example"] = renamed("v", "mov")


def describe(parameter):
    """Says which values of a parameter mean something."""
    known = (PATHS if parameter["in"] == "path" else QUERY).get(parameter["name"])
    if known:
        parameter["schema"] = one_of(*known)
        parameter["example"] = known[0]


values = strategies.one_of(
    strategies.none(), strategies.booleans(), strategies.integers(), strategies.floats(), strategies.text()
)
row = strategies.dictionaries(strategies.sampled_from(["id", "at", "text", "more"]), values)
lines = strategies.lists(row, max_size=4).map(lambda rows: "\n".join(map(json.dumps, rows)))
schemathesis.openapi.format(LINES, lines)


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    return (value if isinstance(value, str) else json.dumps(value)).encode(errors="surrogatepass")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Sends a key with every fourth request that may have one: always the same with the same request, which is then kept."""
    if case.path.startswith("/v1/") and case.method in ("POST", "DELETE"):
        said = repr((case.method, case.path, case.path_parameters, case.query, case.body))
        key = uuid.uuid5(uuid.NAMESPACE_URL, said)
        if key.int % 4 == 0:
            case.headers["Idempotency-Key"] = str(key)


@schemathesis.hook
def filter_path_parameters(context, path_parameters):
    """Keeps the token that everything is done with."""
    return (path_parameters or {}).get("id") not in own_tokens


own_tokens = {token["id"] for token in send("GET", "/manage/v1/tokens").json()["tokens"]}


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code < 300 and case.operation.definition.raw.get("operationId") in TAKES:
        seed()


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Lets one 500 pass: a key sent again after its table was purged. It tells the client to keep its files."""
    return not (response.status_code == 500 and "and is gone or another since" in response.text)
