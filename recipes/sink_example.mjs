// Pushes some clicks through the sink:   node recipes/sink_example.mjs [HOW_MANY]
// FLOEBERG_URL says where to (http://127.0.0.1:8181), FLOEBERG_TOKEN with which token, if one is asked for.

import { Sink } from "./sink.mjs";

const { FLOEBERG_URL = "http://127.0.0.1:8181", FLOEBERG_TOKEN } = process.env;
const count = Number(process.argv[2] ?? 2_500);

const sink = new Sink(`${FLOEBERG_URL}/ingest/v1/shop/clicks?partition_by=day(at)`, {
  headers: FLOEBERG_TOKEN ? { authorization: `Bearer ${FLOEBERG_TOKEN}` } : {},
  // A row that does not fit holds up all of its batch. Those that the problem does not name are sent in its place.
  onRejected(rows, problem) {
    if (problem.status !== 422 || problem.errors.length === 0 || problem.errors_truncated) throw new Error(problem.detail);
    const bad = new Set(problem.errors.map((error) => error.index));
    for (const { index, detail } of problem.errors) console.error(`not taken: ${JSON.stringify(rows[index])}: ${detail}`);
    return rows.filter((_, index) => !bad.has(index));
  },
});

for (let id = 0; id < count; id += 1) {
  const at = new Date(Date.UTC(2024, 0, 1) + id * 60_000);
  // The last one is not what the column takes.
  await sink.push({ id: id === count - 1 ? "the last" : id, at, page: `/p/${id % 7}`, seconds: id / 8 });
}
await sink.close();
