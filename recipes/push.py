#!/usr/bin/env python3
"""A sink for rows in Python, with the standard library and nothing else.

    python3 recipes/push.py shop/visits < visits.ndjson         FLOEBERG_URL, FLOEBERG_TOKEN: where to, and with which token

    with Sink("http://127.0.0.1:8181/ingest/v1/shop/visits") as sink:
        sink.push({"id": 1, "at": datetime.now(timezone.utc)})

Rows are sent 1 000 at once, or after 60 seconds, whichever comes first, by a thread of the sink's own. Each batch has a key of
its own and is sent with it until there is an answer, so that it is written once however often it is sent. What the server
refuses is not sent again: `on_rejected` gets the rows and the problem, and so it does with a batch that found no answer for as
long as the server is sure to know its key. It may return rows to be sent in their place. Where it raises, as it does unless it
is given, the next `flush()` or `close()` raises that.
"""

import gzip
import http.client
import json
import os
import queue
import random
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid


class NotTaken(Exception):
    """Rows that were neither written nor dealt with."""


class Sink:
    # Seconds before the second try, then twice as long each time, up to a most.
    PAUSE, LONGEST = 0.5, 30
    # Seconds for which a batch is tried: a server keeps keys for 30 minutes unless told otherwise.
    PATIENCE = 25 * 60

    def __init__(self, url, token=None, rows=1_000, seconds=60, bytes=8_000_000, on_rejected=None):
        self.url, self.rows, self.seconds, self.bytes = url, rows, seconds, bytes
        self.headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip"}
        if token:
            self.headers["authorization"] = f"Bearer {token}"
        self.on_rejected = on_rejected or refuse
        self.faults = []
        # With so many rows to be sent `push` waits.
        self.queue = queue.Queue(10 * rows)
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def push(self, row):
        """Takes a row as it is now: it may be changed afterwards."""
        self.queue.put(encoded(row))

    def flush(self):
        """Sends what has gathered. When this is done, each row is in a snapshot or was given to `on_rejected`."""
        done = threading.Event()
        self.queue.put(done)
        done.wait()
        faults, self.faults = self.faults, []
        if faults:
            raise faults[0]

    def close(self):
        try:
            self.flush()
        finally:
            self.queue.put(None)
            self.thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def work(self):
        """One batch goes after the other, so that the rows come in order."""
        lines, size, due = [], 0, None
        while True:
            try:
                item = self.queue.get(timeout=due and max(0, due - time.monotonic()))
            except queue.Empty:
                item = "due"
            else:
                if isinstance(item, str):
                    lines.append(item)
                    size += len(item)
                    due = due or time.monotonic() + self.seconds
                    if len(lines) < self.rows and size < self.bytes:
                        continue
            if lines:
                try:
                    self.deliver(lines)
                except Exception as fault:
                    self.faults.append(fault)
                lines, size, due = [], 0, None
            if item is None:
                return
            if isinstance(item, threading.Event):
                item.set()

    def deliver(self, lines):
        key, body = str(uuid.uuid4()), gzip.compress("\n".join(lines).encode())
        since, pause = time.monotonic(), self.PAUSE
        while True:
            problem, again, after = self.send(key, body)
            if problem is None:
                return
            if not again or time.monotonic() - since > self.PATIENCE:
                rest = self.on_rejected([json.loads(line) for line in lines], problem)
                if rest:
                    self.deliver([encoded(row) for row in rest])
                return
            # Not everybody at the same moment, and not before the server wants it.
            time.sleep(max(pause * random.uniform(0.5, 1), after))
            pause = min(2 * pause, self.LONGEST)

    def send(self, key, body):
        """What the problem is, if there is one; whether it may be another time; in how many seconds at the earliest."""
        request = urllib.request.Request(self.url, body, {**self.headers, "idempotency-key": key})
        try:
            # The server answers within a minute, if only that it does not know yet.
            with urllib.request.urlopen(request, timeout=90) as answer:
                answer.read()
                return None, False, 0
        except urllib.error.HTTPError as refusal:
            after = refusal.headers.get("retry-after", "")
            again = refusal.code == 429 or refusal.code >= 500
            return problem_of(refusal), again, int(after) if after.isdigit() else 0
        except (OSError, http.client.HTTPException) as fault:
            # Nobody was there, or the answer was lost.
            return {"status": 0, "code": "no_answer", "detail": str(fault), "errors": []}, True, 0


def encoded(row):
    return json.dumps(row, allow_nan=False, default=lambda value: value.isoformat())


def problem_of(refusal):
    """What the server said. A proxy before it may say something else."""
    try:
        return json.loads(refusal.read())
    except (OSError, http.client.HTTPException, ValueError):
        return {"status": refusal.code, "code": "no_problem", "detail": str(refusal), "errors": []}


def refuse(rows, problem):
    raise NotTaken(f"{len(rows)} rows were not taken: {problem['detail']}")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: push.py NAMESPACE/TABLE[?partition_by=…] < ROWS.ndjson")
    url = f"{os.environ.get('FLOEBERG_URL', 'http://127.0.0.1:8181')}/ingest/v1/{sys.argv[1]}"
    status = 0

    def without_the_bad(rows, problem):
        """A row that does not fit holds up all of its batch. Those that the problem does not name are sent in its place."""
        nonlocal status
        status = 1
        if problem["status"] != 422 or not problem["errors"] or problem["errors_truncated"]:
            refuse(rows, problem)
        for error in problem["errors"]:
            print(f"not taken: {encoded(rows[error['index']])}: {error['detail']}", file=sys.stderr)
        bad = {error["index"] for error in problem["errors"]}
        return [row for index, row in enumerate(rows) if index not in bad]

    try:
        with Sink(url, os.environ.get("FLOEBERG_TOKEN"), on_rejected=without_the_bad) as sink:
            for number, line in enumerate(sys.stdin, 1):
                try:
                    sink.push(json.loads(line))
                except ValueError as fault:
                    # Those before it are sent.
                    sys.exit(f"line {number} is not JSON: {fault}")
    except NotTaken as fault:
        sys.exit(str(fault))
    sys.exit(status)


if __name__ == "__main__":
    main()
