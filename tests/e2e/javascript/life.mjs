// A life through iceberg-js: namespaces, a table that is created, read, changed, renamed, registered and dropped.
//
//   node life.mjs '{"uri": …, "namespace": …}'   with "warehouse", with "token" or "credential" and "oauth2-server-uri",
//                                                and with "reader", the secret of one who may read only, where there are
//
// What is not as it should be throws. The table `left` stays for whoever called, to write rows into it.

import assert from "node:assert/strict";
import { IcebergError, IcebergRestCatalog, getCurrentSchema } from "iceberg-js";

const given = JSON.parse(process.argv[2]);

// The client has no OAuth of its own, but asks this for headers at every request.
async function accessToken() {
  const [client_id, client_secret] = given.credential.split(":");
  const form = new URLSearchParams({ grant_type: "client_credentials", client_id, client_secret, scope: "catalog" });
  const answer = await fetch(given["oauth2-server-uri"], { method: "POST", body: form });
  assert.equal(answer.status, 200);
  return { Authorization: `Bearer ${(await answer.json()).access_token}` };
}

function catalogFor(auth) {
  // Its warehouse gives the client the prefix of every path, by way of /v1/config.
  return new IcebergRestCatalog({ baseUrl: given.uri, warehouse: given.warehouse, auth });
}

function ownAuth() {
  if (given.token) return { type: "bearer", token: given.token };
  return given.credential ? { type: "custom", getHeaders: accessToken } : { type: "none" };
}

const catalog = catalogFor(ownAuth());
const home = { namespace: [given.namespace] };
const schema = {
  type: "struct",
  fields: [
    { id: 1, name: "id", type: "long", required: true },
    { id: 2, name: "at", type: "timestamptz", required: false },
    { id: 3, name: "price", type: "decimal(10,2)", required: false },
    { id: 4, name: "tags", required: false, type: { type: "list", "element-id": 5, element: "string", "element-required": false } },
  ],
  "identifier-field-ids": [1],
};
const byDay = { fields: [{ "source-id": 2, "field-id": 1000, name: "at_day", transform: "day" }] };

const refused = (status, type) => (error) => {
  assert.ok(error instanceof IcebergError, `${error}`);
  assert.deepEqual([error.status, error.icebergType], [status, type]);
  return true;
};

async function everyPage(list, entries) {
  const found = [];
  // Pages are for those who ask with a token, the first time with an empty one.
  let pageToken = "";
  do {
    const page = await list({ pageSize: 1, pageToken });
    assert.ok(page[entries].length <= 1);
    found.push(...page[entries]);
    pageToken = page.nextPageToken;
  } while (pageToken);
  return found;
}

async function namespaces() {
  // Without this the client guesses the prefix from the warehouse's name, and says nothing.
  assert.ok((await catalog.loadConfig()).endpoints.includes("POST /v1/{prefix}/namespaces"));
  await catalog.createNamespace(home, { properties: { owner: "js", stale: "x" } });
  await assert.rejects(catalog.createNamespace(home), refused(409, "AlreadyExistsException"));
  assert.equal(await catalog.createNamespaceIfNotExists(home), undefined);
  assert.equal(await catalog.namespaceExists(home), true);
  assert.equal(await catalog.namespaceExists({ namespace: ["not there"] }), false);
  assert.ok((await catalog.listNamespaces()).namespaces.some((one) => one.namespace[0] === given.namespace));

  const updated = await catalog.updateNamespaceProperties(home, { updates: { owner: "me" }, removals: ["stale", "never"] });
  assert.deepEqual(updated, { updated: ["owner"], removed: ["stale"], missing: ["never"] });
  const { properties } = await catalog.loadNamespaceMetadata(home);
  assert.equal(properties.owner, "me");
  assert.ok(!("stale" in properties));

  // Names as odd as they come, and more of them than fit on a page.
  const inner = ["a b/c%", "é+x", "plain"].map((name) => ({ namespace: [given.namespace, name] }));
  for (const one of inner) await catalog.createNamespace(one);
  const listed = await everyPage((page) => catalog.listNamespaces({ parent: home, ...page }), "namespaces");
  assert.deepEqual(new Set(listed.map((one) => one.namespace[1])), new Set(inner.map((one) => one.namespace[1])));
  await catalog.createTable(inner[0], { name: "t 3/é+x", schema });
  assert.deepEqual((await catalog.listTables(inner[0])).identifiers, [{ ...inner[0], name: "t 3/é+x" }]);
  await assert.rejects(catalog.dropNamespace(inner[0]), refused(409, "NamespaceNotEmptyException"));
  await catalog.dropTable({ ...inner[0], name: "t 3/é+x" });
  for (const one of inner) await catalog.dropNamespace(one);
  assert.deepEqual((await catalog.listNamespaces({ parent: home })).namespaces, []);
  await assert.rejects(catalog.dropNamespace(inner[0]), refused(404, "NoSuchNamespaceException"));
}

async function tables() {
  const id = { ...home, name: "t" };
  const order = { "order-id": 1, fields: [{ "source-id": 1, transform: "identity", direction: "asc", "null-order": "nulls-first" }] };
  const request = { name: "t", schema, "partition-spec": byDay, "write-order": order, properties: { a: "1", b: "2" } };
  const made = await catalog.createTableResult(home, request);
  assert.ok(made["metadata-location"] && made.etag);
  assert.deepEqual(getCurrentSchema(made.metadata).fields.map((field) => field.name), ["id", "at", "price", "tags"]);
  assert.deepEqual(made.metadata["partition-specs"][0].fields, byDay.fields);
  assert.equal(made.metadata["sort-orders"].length, 1);
  await assert.rejects(catalog.createTable(home, request), refused(409, "AlreadyExistsException"));
  assert.equal((await catalog.createTableIfNotExists(home, request))["table-uuid"], made.metadata["table-uuid"]);
  assert.deepEqual([await catalog.tableExists(id), await catalog.tableExists({ ...home, name: "u" })], [true, false]);
  await assert.rejects(catalog.loadTable({ ...home, name: "u" }), refused(404, "NoSuchTableException"));

  const loaded = await catalog.loadTableResult(id, { snapshots: "refs" });
  assert.equal(await catalog.loadTable(id, { ifNoneMatch: loaded.etag, snapshots: "refs" }), null);

  const grown = { ...schema, fields: [...schema.fields, { id: 6, name: "more", type: "int", required: false }] };
  const requirements = [
    { type: "assert-table-uuid", uuid: made.metadata["table-uuid"] },
    { type: "assert-current-schema-id", "current-schema-id": 0 },
  ];
  const updates = [
    { action: "add-schema", schema: grown },
    { action: "set-current-schema", "schema-id": -1 },
    { action: "add-spec", spec: { fields: [{ "source-id": 1, name: "id_bucket", transform: "bucket[4]" }] } },
    { action: "set-default-spec", "spec-id": -1 },
    { action: "set-properties", updates: { a: "3" } },
    { action: "remove-properties", removals: ["b"] },
  ];
  const committed = await catalog.commitTable(id, { requirements, updates });
  assert.deepEqual(getCurrentSchema(committed.metadata).fields.map((field) => field.name), ["id", "at", "price", "tags", "more"]);
  assert.equal(committed.metadata["default-spec-id"], 1);
  // Another has changed the schema since: the same commit again is a conflict.
  await assert.rejects(catalog.commitTable(id, { requirements, updates }), refused(409, "CommitFailedException"));
  const changed = await catalog.loadTable(id, { ifNoneMatch: loaded.etag });
  assert.deepEqual([changed.properties.a, changed.properties.b], ["3", undefined]);

  await catalog.createTable(home, { name: "left", schema, "partition-spec": byDay });
  await assert.rejects(
    catalog.renameTable({ source: id, destination: { ...home, name: "left" } }),
    refused(409, "AlreadyExistsException"),
  );
  await catalog.renameTable({ source: id, destination: { ...home, name: "u" } });
  const names = await everyPage((page) => catalog.listTables(home, page), "identifiers");
  assert.deepEqual(names.map((one) => one.name).sort(), ["left", "u"]);

  // Dropped without its files, and taken in again by its last metadata.
  await catalog.dropTable({ ...home, name: "u" });
  const again = await catalog.registerTable(home, { name: "back", "metadata-location": committed["metadata-location"] });
  assert.equal(again["table-uuid"], made.metadata["table-uuid"]);
  await catalog.dropTable({ ...home, name: "back" }, { purge: true });
  assert.equal(await catalog.tableExists({ ...home, name: "back" }), false);
}

async function doors() {
  const unknown = catalogFor({ type: "bearer", token: "flo_wrong" });
  await assert.rejects(unknown.listNamespaces(), refused(401, "NotAuthorizedException"));
  await assert.rejects(catalogFor().listNamespaces(), refused(401, "NotAuthorizedException"));
  const reader = catalogFor({ type: "bearer", token: given.reader });
  assert.deepEqual((await reader.listTables(home)).identifiers, [{ ...home, name: "left" }]);
  await assert.rejects(reader.dropTable({ ...home, name: "left" }), refused(403, "ForbiddenException"));
  assert.equal(await reader.tableExists({ ...home, name: "left" }), true);
}

await namespaces();
await tables();
if (given.reader) await doors();
