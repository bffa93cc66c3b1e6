// A sink for rows in JavaScript, with `fetch` and nothing else: it runs in a browser, in a worker and in Node.
//
//   const sink = new Sink("http://127.0.0.1:8181/ingest/v1/shop/clicks", { onRejected: (rows, problem) => … });
//   await sink.push({ id: 1, at: new Date() });
//   await sink.close();                            // sends what is left
//
// Rows are sent 1 000 at once, or after 60 seconds, whichever comes first. Each batch has a key of its own and is sent with it
// until there is an answer, so that it is written once however often it is sent. What the server refuses is not sent again:
// `onRejected` gets the rows and the problem, and so it does with a batch that found no answer for as long as the server is
// sure to know its key. It may return rows to be sent in their place. Where it throws, as it does unless it is given,
// the next `flush()` or `close()` throws that.

export class Sink {
  #url; #settings; #lines = []; #bytes = 0; #timer; #sending = Promise.resolve(); #batches = 0; #faults = [];

  constructor(url, settings = {}) {
    this.#url = url;
    this.#settings = {
      rows: 1_000,
      seconds: 60,
      bytes: 8_000_000,        // rows as big as this together are sent at once
      batches: 10,             // with so many to be sent `push` waits for them
      patience: 25 * 60,       // seconds for which a batch is tried: a server keeps keys for 30 minutes unless told otherwise
      pause: 0.5,              // seconds before the second try, then twice as long each time,
      longest: 30,             // up to this
      headers: {},             // { authorization: "Bearer flo_…" }
      onRejected: (rows, problem) => { throw new Error(`${rows.length} rows were not taken: ${problem.detail}`); },
      ...settings,
    };
  }

  // Takes a row as it is now: it may be changed afterwards.
  async push(row) {
    const line = JSON.stringify(row);
    this.#lines.push(line);
    this.#bytes += line.length;
    this.#timer ??= setTimeout(() => this.#cut(), this.#settings.seconds * 1_000);
    if (this.#lines.length >= this.#settings.rows || this.#bytes >= this.#settings.bytes) this.#cut();
    if (this.#batches >= this.#settings.batches) await this.#sending;
  }

  // Sends what has gathered. When this is done, each row is in a snapshot or was given to `onRejected`.
  async flush() {
    this.#cut();
    await this.#sending;
    const faults = this.#faults.splice(0);
    if (faults.length > 0) throw faults.length === 1 ? faults[0] : new AggregateError(faults, faults[0].message);
  }

  close() {
    return this.flush();
  }

  // One batch goes after the other, so that the rows come in order.
  #cut() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#lines.length === 0) return;
    const lines = this.#lines;
    this.#lines = [];
    this.#bytes = 0;
    this.#batches += 1;
    this.#sending = this.#sending
      .then(() => this.#deliver(lines))
      .catch((fault) => this.#faults.push(fault))
      .then(() => { this.#batches -= 1; });
  }

  async #deliver(lines) {
    const { patience, pause, longest, onRejected } = this.#settings;
    const key = crypto.randomUUID(), body = lines.join("\n"), since = Date.now();
    for (let tries = 0; ; tries += 1) {
      const { problem, again, after } = await this.#send(key, body);
      if (!problem) return;
      if (!again || Date.now() - since > patience * 1_000) {
        const rest = await onRejected(lines.map((line) => JSON.parse(line)), problem);
        if (rest?.length > 0) await this.#deliver(rest.map((row) => JSON.stringify(row)));
        return;
      }
      // Not everybody at the same moment, and not before the server wants it.
      const own = Math.min(longest, pause * 2 ** tries) * (0.5 + Math.random() / 2);
      await new Promise((resolve) => setTimeout(resolve, Math.max(own, after) * 1_000));
    }
  }

  // Nothing, or what the problem is, whether it may be another time, and in how many seconds.
  async #send(key, body) {
    try {
      const headers = { "content-type": "application/x-ndjson", "idempotency-key": key, ...this.#settings.headers };
      // The server answers within a minute, if only that it does not know yet.
      const answer = await fetch(this.#url, { method: "POST", headers, body, signal: AbortSignal.timeout(90_000) });
      const text = await answer.text();
      if (answer.ok) return {};
      const again = answer.status === 429 || answer.status >= 500;
      return { problem: problemOf(answer.status, text), again, after: Number(answer.headers.get("retry-after")) || 0 };
    } catch (fault) {
      // Nobody was there, or the answer was lost.
      return { problem: { status: 0, code: "no_answer", detail: String(fault.cause ?? fault), errors: [] }, again: true, after: 0 };
    }
  }
}

// What the server said. A proxy before it may say something else.
function problemOf(status, text) {
  try {
    return JSON.parse(text);
  } catch {
    return { status, code: "no_problem", detail: text.slice(0, 500), errors: [] };
  }
}
