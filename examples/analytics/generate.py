#!/usr/bin/env python3
"""Rows as an edge-functions product logs them: made up, and the same each time. Standard library only.

    generate.py                              to standard output, each in an envelope: {"table": "analytics.errors", "row": {…}}
    generate.py --table errors               the rows of one table, with nothing around them
    generate.py --out FOLDER                 a file for each table: FOLDER/analytics.errors.ndjson …
    generate.py --push [URL]                 to a server, FLOEBERG_URL or http://127.0.0.1:8181, with the token FLOEBERG_TOKEN

A few functions are hot, and those start cold less often; what a call takes is log-normal, by language; functions fail more or less
often; a third of the clients has IPv6 addresses; some places log their local time. Messages and stack traces hold secrets and
addresses, and some traces are too long: what the rules at the door are for. Rows come hour by hour, neither `date` nor `hour` in
them. After some thousands comes one that is meant not to fit; it is not counted by `--rows`.

What is pushed goes in envelopes, some 5 MB a body, several bodies at once. A body is sent, with a key that is made of it, until
there is an answer, so that it is written once however often it is sent, also by a second run of the same command within the half
hour for which the server keeps keys. A body that the server refuses ends the program.
"""

import argparse
import collections
import concurrent.futures
import datetime
import gzip
import hashlib
import http.client
import itertools
import json
import math
import os
import pathlib
import random
import sys
import time
import urllib.error
import urllib.request

NAMESPACE, TABLES = "analytics", ["invocations", "rate_limits", "deployments", "errors"]
HOUR_MS = 3_600_000
# Rows are handed on so many at once.
BATCH = 10_000

# By language: how many functions, what a call takes in the middle (ms), how much that varies, what a cold start adds (ms), memory (MiB).
LANGUAGES = {
    "javascript": (90, 18, 0.7, 90, 64),
    "typescript": (45, 20, 0.7, 110, 72),
    "python": (40, 45, 0.9, 260, 96),
    "go": (15, 6, 0.6, 25, 28),
    "rust": (10, 3, 0.5, 6, 12),
}
# Places: region, share of the clients, how far ahead of UTC their clocks are (minutes); no offset is written as Z.
PLACES = {
    "fra": ("eu-central", 18, 0),
    "lhr": ("eu-west", 14, 0),
    "cdg": ("eu-west", 9, 0),
    "iad": ("us-east", 20, 0),
    "sjc": ("us-west", 13, 0),
    "gru": ("sa-east", 7, -180),
    "bom": ("ap-south", 9, 330),
    "syd": ("ap-southeast", 4, 600),
    "nrt": ("ap-northeast", 6, 0),
}
NOUNS = "image checkout search session invoice webhook avatar geo feed catalog email thumb auth cart report".split()
VERBS = "resize render index verify export relay lookup rank proxy notify hydrate purge sign route".split()
LIMITS = {"requests_per_second": 50, "requests_per_minute": 1_000, "concurrent": 20, "cpu_ms": 30_000}
PEOPLE = ["ann", "bob", "cho", "dee", "ci"]
# What is wrong, with room for what gives something away, and how often.
FAILURES = [
    ("TypeError", "cannot read properties of undefined (reading 'id')", 30),
    ("ValidationError", "field \"email\" is not an address", 15),
    ("TimeoutError", "the function did not answer within 30000 ms", 10),
    ("OutOfMemoryError", "the isolate has more than 128 MiB", 5),
    ("UpstreamError", "502 from https://api.example.com/v2/orders", 15),
    ("ConnectionError", "connection to {address} was reset by its peer", 10),
    ("ConnectionError", "no route to postgres://app:{password}@db.example.com:5432/orders", 3),
    ("AuthError", "401 from upstream; sent was Authorization: Bearer {bearer}", 5),
    ("AuthError", "the signature of {access_key} does not match", 3),
    ("ConfigError", "cannot parse: host=db password={password} sslmode=require", 2),
    ("ConfigError", "cannot parse: {{\"api_key\": \"{password}\", \"client\": \"{address}\"}}", 2),
]
FAILURE_WEIGHTS = [often for *_, often in FAILURES]
CAPITALS, LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class Function:
    """A function, what a call of it is like and what it is at present."""

    def __init__(self, rng, number, language, share):
        median, spread, cold_ms, memory = LANGUAGES[language][1:]
        self.name = f"{rng.choice(NOUNS)}-{rng.choice(VERBS)}-{number:03}"
        self.language = language
        self.mu, self.sigma = math.log(median) + rng.gauss(0, 0.5), spread
        self.cold_ms, self.memory = cold_ms, int(memory * rng.uniform(0.6, 1.6)) << 20
        # Who is called often is warm.
        self.cold = min(0.35, 0.0003 / share)
        # Most fail rarely, one in twenty often.
        self.failing = rng.uniform(0.08, 0.25) if rng.random() < 0.05 else rng.betavariate(1.2, 60)
        self.version = rng.randint(1, 40)

    def head(self):
        return f'"function_id":"{self.name}","language":"{self.language}","version":"v{self.version}"'


class Client:
    """Somebody who calls, always through the same place."""

    def __init__(self, rng, colo):
        region, _, self.ahead = PLACES[colo]
        self.said = f'"client_ip":"{address(rng)}","region":"{region}","colo":"{colo}"'


def address(rng):
    """An address that is nobody's on the Internet: of 100.64.0.0/10 or 2001:db8::/32."""
    kind = rng.random()
    if kind < 0.66:
        v4 = f"100.{rng.randint(64, 127)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"
        return v4 if kind < 0.64 else f"::ffff:{v4}"
    return f"2001:db8:{rng.randint(1, 0xfff):x}:{rng.randint(1, 0xffff):x}::{rng.randint(1, 0xffff):x}"


class Secrets:
    """What must not be stored, made up and noted."""

    def __init__(self, rng):
        self.rng, self.noted = rng, []

    def note(self, secret):
        self.noted.append(secret)
        return secret

    def bearer(self):
        parts = ("".join(self.rng.choices(LETTERS, k=length)) for length in (12, 24, 18))
        return self.note("eyJ" + ".".join(parts))

    def access_key(self):
        return self.note(self.rng.choice(["AKIA", "ASIA"]) + "".join(self.rng.choices(CAPITALS, k=16)))

    def password(self):
        return self.note("".join(self.rng.choices(LETTERS, k=self.rng.randint(10, 20))))

    def fill(self, text):
        """The text with something in each of its places."""
        if "{" not in text:
            return text
        made = {what: getattr(self, what)() for what in ("bearer", "access_key", "password") if f"{{{what}}}" in text}
        return text.format(address=self.note(address(self.rng)) if "{address}" in text else "", **made)


def shares(weights, total):
    """So many, dealt out by weight to the last one."""
    whole, dealt, behind = sum(weights), [], 0
    for sum_so_far in itertools.accumulate(weights):
        upto = round(total * sum_so_far / whole)
        dealt.append(upto - behind)
        behind = upto
    return dealt


class Product:
    """All rows, by hour."""

    def __init__(self, rows, days, last_day, seed, bad):
        self.rng = rng = random.Random(seed)
        self.secrets = Secrets(rng)
        self.bad, self.calls = bad, 0
        self.first = datetime.datetime.combine(last_day, datetime.time(), datetime.timezone.utc) - datetime.timedelta(days - 1)
        languages = [language for language, what in LANGUAGES.items() for _ in range(what[0])]
        rng.shuffle(languages)
        weights = [1 / (rank + 1) ** 1.1 for rank in range(len(languages))]
        self.functions = [Function(rng, at, each, weights[at] / sum(weights)) for at, each in enumerate(languages)]
        self.hotness = list(itertools.accumulate(weights))
        colos, parts = list(PLACES), [what[1] for what in PLACES.values()]
        self.clients = [Client(rng, colo) for colo in rng.choices(colos, parts, k=20_000)]
        self.activity = list(itertools.accumulate(1 / (rank + 20) for rank in range(len(self.clients))))
        # Those who are kept off are few.
        self.greedy = rng.sample(self.clients, 300)
        self.greed = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(self.greedy))))
        hours = range(24 * days)
        busy = [1 + 0.6 * math.sin((hour % 24 - 8) / 12 * math.pi) for hour in hours]
        days_of_rest = [0.7 if (self.first + datetime.timedelta(hours=hour)).weekday() >= 5 else 1 for hour in hours]
        load = [by_hour * by_day for by_hour, by_day in zip(busy, days_of_rest)]
        self.calls_of, self.limits_of = shares(load, rows), shares([by_hour * rng.uniform(0.5, 2) for by_hour in load], rows // 50)
        self.deployments_of = collections.Counter(rng.choices(hours, load, k=rows // 2_000))
        self.seconds = [f"{ms // 1000:02}.{ms % 1000:03}" for ms in range(60_000)]
        signs = {ahead: f"{'-' if ahead < 0 else '+'}{abs(ahead) // 60:02}:{abs(ahead) % 60:02}" for *_, ahead in PLACES.values()}
        self.zones = {ahead: "Z" if ahead == 0 else sign for ahead, sign in signs.items()}

    def batches(self):
        """Tables, each with some rows of it as JSON."""
        for hour in range(len(self.calls_of)):
            begin = self.first + datetime.timedelta(hours=hour)
            minutes = {
                ahead: [(begin + datetime.timedelta(minutes=ahead + minute)).strftime("%Y-%m-%dT%H:%M:") for minute in range(60)]
                for ahead in self.zones
            }
            # What is called is what was there before; what is rolled out in this hour comes with the next.
            heads = [function.head() for function in self.functions]
            yield "deployments", self.deployments(hour, minutes)
            left = self.calls_of[hour]
            times = sorted(self.rng.choices(range(HOUR_MS), k=left))
            for start in range(0, left, BATCH):
                calls, errors = self.invocations(times[start : start + BATCH], minutes, heads, begin)
                yield "invocations", calls
                yield "errors", errors
            yield "rate_limits", self.rate_limits(hour, minutes)

    def ids(self, count):
        text = self.rng.randbytes(16 * count).hex()
        return [text[at : at + 32] for at in range(0, 32 * count, 32)]

    def invocations(self, times, minutes, heads, begin):
        """Calls, and the errors of those that fail."""
        rng, functions, clients, seconds, zones = self.rng, self.functions, self.clients, self.seconds, self.zones
        random, gauss, exp = rng.random, rng.gauss, math.exp
        which = rng.choices(range(len(functions)), cum_weights=self.hotness, k=len(times))
        who = rng.choices(clients, cum_weights=self.activity, k=len(times))
        calls, errors = [], []
        for id, at, ms, client in zip(self.ids(len(times)), which, times, who):
            function = functions[at]
            cold = random() < function.cold
            duration = exp(function.mu + function.sigma * gauss(0, 1))
            if cold:
                duration += function.cold_ms * (0.5 + random())
            outcome, zone = '"success":true,"error_type":null,"error_message":null', client.ahead
            started = f"{minutes[zone][ms // 60_000]}{seconds[ms % 60_000]}{zones[zone]}"
            if random() < function.failing:
                error = self.error(id, function, begin + datetime.timedelta(milliseconds=ms))
                if error["error_type"] == "TimeoutError":
                    duration = 30_000.0
                outcome = f'"success":false,"error_type":"{error["error_type"]}","error_message":{json.dumps(error["error_message"])}'
                errors.append(json.dumps(error, separators=(",", ":")))
            memory = function.memory + int(random() * 0x400000)
            call = (
                f'{{"invocation_id":"{id}",{heads[at]},"started_at":"{started}","duration_ms":{duration:.3f},{outcome},'
                f'"cold_start":{"true" if cold else "false"},"memory_used_bytes":{memory},{client.said}}}'
            )
            calls.append(call)
            self.calls += 1
            if self.bad and self.calls % self.bad == 0:
                calls.append(self.misfit(call))
        return calls, errors

    def error(self, id, function, moment):
        kind, text, _ = self.rng.choices(FAILURES, FAILURE_WEIGHTS)[0]
        message = self.secrets.fill(text)
        return {
            "error_id": f"{self.rng.getrandbits(128):032x}",
            "invocation_id": id,
            "function_id": function.name,
            "occurred_at": moment.isoformat(timespec="milliseconds"),
            "error_type": kind,
            "error_message": message,
            "stack_trace": self.trace(function, f"{kind}: {message}"),
            "language": function.language,
            "version": f"v{function.version}",
        }

    def trace(self, function, said):
        """A stack trace; some of functions that call themselves have no end."""
        rng = self.rng
        frames = rng.randint(3, 14) if rng.random() < 0.97 else rng.randint(120, 300)
        frame = lambda: f"{rng.choice(VERBS)} (/app/{function.name}/{rng.choice(NOUNS)}.js:{rng.randint(1, 900)}:{rng.randint(1, 80)})"
        lines = [f"    at {frame()}" for _ in range(frames)]
        if rng.random() < 0.1:
            values = self.secrets.fill("API_TOKEN={password} AWS_ACCESS_KEY_ID={access_key} REMOTE_ADDR={address}")
            lines.insert(rng.randint(0, 3), f"    env {values}")
        text = "\n".join([said, *lines])
        if frames > 100 and rng.random() < 0.5:
            # Right where a trace is cut: whoever cuts first leaves half of it.
            text = f"{text[:4_085]}\n {self.secrets.access_key()}\n{text[4_085:]}"
        return text

    def misfit(self, call):
        """A call that does not fit, with something in it that is not to be stored even so."""
        row = json.loads(call)
        row["invocation_id"] = f"{self.rng.getrandbits(128):032x}"
        row["error_message"] = self.secrets.fill("cannot parse: password={password} for {address} with {access_key}")
        wrong = self.calls // self.bad % 3
        if wrong == 0:
            row["started_at"] = "just now"
        elif wrong == 1:
            row["duration_ms"] = f"{row['duration_ms']} ms"
        else:
            del row["function_id"]
        return json.dumps(row, separators=(",", ":"))

    def deployments(self, hour, minutes):
        """Functions as they are rolled out; those that are rolled back stay what they were."""
        rng, rows = self.rng, []
        for ms in sorted(rng.choices(range(HOUR_MS), k=self.deployments_of[hour])):
            function = rng.choice(self.functions)
            before, size = function.version, rng.randint(2_000, 900_000)
            status = rng.choices(["live", "rolled_back", "failed"], [90, 7, 3])[0]
            why = {"rolled_back": f"{rng.uniform(3, 40):.1f} % of the calls failed", "failed": "the build did not end"}.get(status)
            row = {
                "deployment_id": f"{rng.getrandbits(128):032x}",
                "function_id": function.name,
                "version": f"v{before + 1}",
                "previous_version": f"v{before}",
                "deployed_at": f"{minutes[0][ms // 60_000]}{self.seconds[ms % 60_000]}Z",
                "deployed_by": rng.choice(PEOPLE),
                "code_size_bytes": size,
                "source_map_size_bytes": 3 * size if function.language in ("javascript", "typescript") else None,
                "status": status,
                "rollback_reason": why,
            }
            if status == "live":
                function.version += 1
            rows.append(json.dumps(row, separators=(",", ":")))
        return rows

    def rate_limits(self, hour, minutes):
        rng, rows = self.rng, []
        times = sorted(rng.choices(range(HOUR_MS), k=self.limits_of[hour]))
        for id, ms in zip(self.ids(len(times)), times):
            client = rng.choices(self.greedy, cum_weights=self.greed)[0]
            function = rng.choices(self.functions, cum_weights=self.hotness)[0]
            kind = rng.choice(list(LIMITS))
            at = f"{minutes[client.ahead][ms // 60_000]}{self.seconds[ms % 60_000]}{self.zones[client.ahead]}"
            rows.append(
                f'{{"event_id":"{id}","function_id":"{function.name}","occurred_at":"{at}",'
                f'"limit_type":"{kind}","limit_value":{LIMITS[kind]},{client.said}}}'
            )
        return rows


def enveloped(table, rows):
    """Lines of rows with the table that they are for."""
    before = f'{{"table":"{NAMESPACE}.{table}","row":'
    return before + f"}}\n{before}".join(rows) + "}\n" if rows else ""


def bodies(batches, size):
    """Lines in envelopes, at least so many bytes at once but for the last."""
    texts, bytes = [], 0
    for table, rows in batches:
        texts.append(enveloped(table, rows))
        bytes += len(texts[-1])
        if bytes >= size:
            yield "".join(texts).encode()
            texts, bytes = [], 0
    if texts:
        yield "".join(texts).encode()


class Refused(Exception):
    """A body that was not taken."""


class Sender:
    # Seconds before the second try, then twice as long each time, up to a most; and for how long there are more.
    PAUSE, LONGEST, PATIENCE = 0.5, 30, 25 * 60

    def __init__(self, url):
        # No other name makes a table, to which nobody would have given rules.
        tables = ",".join(f"{NAMESPACE}.{table}={NAMESPACE}.{table}" for table in TABLES)
        self.url = f"{url}/ingest/v1?envelope=true&map={tables}"
        self.headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip"}
        if os.environ.get("FLOEBERG_TOKEN"):
            self.headers["authorization"] = f"Bearer {os.environ['FLOEBERG_TOKEN']}"

    def send(self, text):
        """Sends a body until there is an answer: bytes as they were sent, and what the server counted."""
        # Without the time, so that the same rows are the same body.
        body = gzip.compress(text, 6, mtime=0)
        headers = {**self.headers, "idempotency-key": hashlib.sha256(text).hexdigest()}
        since, pause = time.monotonic(), self.PAUSE
        while True:
            try:
                with urllib.request.urlopen(urllib.request.Request(self.url, body, headers), timeout=90) as answer:
                    return len(body), json.load(answer)
            except urllib.error.HTTPError as refusal:
                said, after = refusal.read().decode(errors="replace"), refusal.headers.get("retry-after", "")
                if refusal.code not in (429, 500, 503, 504):
                    raise Refused(f"{refusal.code} {said}") from None
            except (OSError, http.client.HTTPException, ValueError) as fault:
                # Nobody was there, or the answer was lost.
                said, after = str(fault), ""
            if time.monotonic() - since > self.PATIENCE:
                raise Refused(said)
            time.sleep(max(pause * random.uniform(0.5, 1), int(after) if after.isdigit() else 0))
            pause = min(2 * pause, self.LONGEST)


def push(product, options):
    sender, since = Sender(options.push.rstrip("/")), time.monotonic()
    total, sent, under_way = collections.Counter(), collections.Counter(), collections.deque()

    def heard():
        size, answer = under_way.popleft().result()
        # Of a body that was there already the server says what it said then.
        total.update({"known": answer["rows"]["received"]} if answer["duplicate"] else answer["rows"])
        sent.update(bodies=1, bytes=size)

    with concurrent.futures.ThreadPoolExecutor(options.parallel) as pool:
        try:
            for text in bodies(product.batches(), options.body_bytes):
                under_way.append(pool.submit(sender.send, text))
                if len(under_way) > options.parallel:
                    heard()
            while under_way:
                heard()
        except Refused as refused:
            for one in under_way:
                one.cancel()
            sys.exit(f"not taken: {refused}")
    seconds = time.monotonic() - since
    rate, mean = (total["received"] + total["known"]) / seconds, sent["bytes"] / max(sent["bodies"], 1) / 1e6
    print(
        f"{total['written']} rows written, {total['rejected']} rejected, {total['known']} there already in {seconds:.1f} s: "
        f"{rate:.0f} rows/s, {sent['bodies']} bodies of {mean:.1f} MB"
    )


def write(product, options):
    if options.out:
        folder = pathlib.Path(options.out)
        folder.mkdir(parents=True, exist_ok=True)
        files = {table: (folder / f"{NAMESPACE}.{table}.ndjson").open("w") for table in TABLES}
    for table, rows in product.batches():
        lines = "".join(f"{row}\n" for row in rows)
        if options.out:
            files[table].write(lines)
        elif options.table in (None, table):
            sys.stdout.write(lines if options.table else enveloped(table, rows))
    for file in files.values() if options.out else [sys.stdout]:
        file.flush()


def main():
    parser = argparse.ArgumentParser(description="Rows as an edge-functions product logs them")
    parser.add_argument("--rows", type=int, default=1_000_000, help="invocations; other tables in proportion (%(default)s)")
    parser.add_argument("--days", type=int, default=8, help="days that they are of (%(default)s)")
    parser.add_argument("--last-day", type=datetime.date.fromisoformat, default=datetime.date(2026, 1, 31), help="the last of them (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another one makes other rows (%(default)s)")
    parser.add_argument("--bad", type=int, default=5_000, help="after so many invocations comes one that does not fit; 0: never (%(default)s)")
    parser.add_argument("--secrets", metavar="FILE", help="write there what is not to be stored, line by line")
    parser.add_argument("--parallel", type=int, default=2, help="bodies under way at once (%(default)s)")
    parser.add_argument("--body-bytes", type=int, default=32_000_000, help="bytes of a body before it is compressed (%(default)s)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--table", choices=TABLES, help="only the rows of this table, to standard output")
    where.add_argument("--out", metavar="FOLDER", help="to a file for each table")
    where.add_argument("--push", metavar="URL", nargs="?", const=os.environ.get("FLOEBERG_URL", "http://127.0.0.1:8181"), help="to a server")
    options = parser.parse_args()
    product = Product(options.rows, options.days, options.last_day, options.seed, options.bad)
    if options.push:
        push(product, options)
    else:
        write(product, options)
    if options.secrets:
        pathlib.Path(options.secrets).write_text("".join(f"{secret}\n" for secret in product.secrets.noted))


if __name__ == "__main__":
    main()
