"""Who writes in the chaos test: clients that push rows until they know what became of them, and others beside them."""

import collections
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
import requests
from pyiceberg.types import LongType

from chaos_requests import IDS, NS, REJECTED, TABLES, Maker, row, third, whole_name

SEED = random.randrange(1 << 30)
KINDS = ["commit", "wal", "producer", "none"]


class Client(threading.Thread):
    """Pushes rows with ids of its own, each request until its outcome is certain."""

    def __init__(self, server, over, number):
        super().__init__(daemon=True)
        self.server, self.over, self.number = server, over, number
        self.kind, self.table = KINDS[number % len(KINDS)], TABLES[number // len(KINDS) % len(TABLES)]
        self.dice = random.Random(f"{SEED} {number}")
        self.maker = Maker(self.dice, number * 10**9)
        self.turns, self.epoch, self.sequence, self.token = 0, 0, -1, None
        self.history, self.fault, self.patience = collections.deque(maxlen=30), None, None
        # What was sent of which more than one table gets rows at once.
        self.transactions = []
        self.figures = collections.Counter()
        # Ids by table, of dead letters too: acknowledged for good, never to be there, and those of which nothing is promised.
        self.acknowledged, self.refused, self.open = (collections.defaultdict(set) for _ in range(3))

    def run(self):
        try:
            while not self.over.is_set():
                self.turn()
        except Exception as fault:
            self.fault = fault

    def turn(self):
        self.turns += 1
        draw = self.dice.random()
        if draw < 0.06:
            self.send_what_is_refused(self.named(self.maker.refused(self.table, self.kind == "producer")), 422)
        elif draw < 0.09 and self.history and self.kind != "none":
            self.send_the_wrong_way()
        elif draw < 0.25 and self.history:
            self.send_again(self.dice.choice(self.history))
        else:
            self.send_anew()
        time.sleep(self.dice.uniform(0, 0.1))

    def request(self):
        if self.kind != "producer" and self.dice.random() < 0.3:
            return self.named(self.maker.to_many())
        # Everybody wants to be the one who makes it.
        made = self.kind in ("commit", "wal") and self.dice.random() < 0.05
        return self.named(self.maker.to_one(f"made{third()}" if made else self.table))

    def named(self, request):
        request.headers.update(self.name())
        return request

    def name(self):
        """By what a request counts once."""
        if self.kind == "producer":
            place = {"X-Producer-Id": f"p{self.number}", "X-Producer-Epoch": str(self.epoch), "X-Producer-Seq": str(self.sequence + 1)}
            return {**place, "X-Offset-Token": f"up to {self.maker.next_id - 1}"}
        if self.kind == "none" and self.dice.random() < 0.5:
            return {}
        return {"Idempotency-Key": f"{SEED}-{self.number}-{self.turns}"}

    def send_anew(self):
        if self.kind == "producer" and self.sequence >= 0 and self.dice.random() < 0.03:
            self.epoch, self.sequence = self.epoch + 1, -1
        request = self.request()
        note(self.open, request)
        self.transactions += [tables for tables in request.transactions() if len(tables) > 1]
        if self.deliver(request):
            if request.headers.keys() & {"Idempotency-Key", "X-Producer-Id"}:
                self.history.append(request)
            if self.kind == "producer":
                self.sequence, self.token = self.sequence + 1, request.headers["X-Offset-Token"]
            if self.kind != "none" or request.is_atomic():
                note(self.acknowledged, request)

    def deliver(self, request):
        """Whether it was taken; if not, it certainly was not."""
        doubtful, once = False, self.kind == "none" and "Idempotency-Key" not in request.headers
        while True:
            outcomes = self.send(request, 2 if not once and self.dice.random() < 0.1 else 1)
            if "taken" in outcomes or (doubtful and self.is_known(request)):
                return True
            doubtful |= "open" in outcomes
            if once or (not doubtful and self.dice.random() < 0.3):
                if not doubtful:
                    self.figures["given up"] += 1
                    note(self.refused, request)
                return False
            self.figures["retries"] += 1
            self.pause()

    def pause(self):
        time.sleep(self.dice.uniform(0, 0.3))
        if self.over.is_set():
            self.patience = self.patience or time.monotonic() + 60
            assert time.monotonic() < self.patience, "in calm weather there are no answers"

    def is_known(self, request):
        """What one who got no answer may ask, rather than send again."""
        if self.dice.random() < 0.5:
            return False
        if self.kind == "producer":
            found = self.standing()
            return found is not None and (found["epoch"], found["sequence"]) >= (self.epoch, self.sequence + 1)
        found = self.ask(key=request.headers["Idempotency-Key"])
        return found is not None and "rows" in found

    def standing(self):
        return self.ask(producer=f"p{self.number}", table=f"{NS}.{self.table}")

    def ask(self, **what):
        try:
            answer = requests.get(f"{self.server.url}/ingest/v1", params=what, timeout=20)
        except requests.RequestException:
            return None
        return answer.json() if answer.status_code == 200 else None

    def send(self, request, times):
        """What became of it, each time that it was sent at once: `taken`, `not` or `open`."""
        with ThreadPoolExecutor(times) as senders:
            return {self.outcome(request, answer) for answer in senders.map(self.post, [request] * times)}

    def outcome(self, request, answer):
        if answer is None:
            return "open"
        told, status = answer.json(), answer.status_code
        fit, bad = request.fitting()
        # None of its rows fits: that is an error, and they are dead letters for good.
        if status == 422 and fit == 0:
            assert told["rows"] == {"received": len(bad), "written": 0, "rejected": len(bad), "duplicate": 0}, told
            assert {error["index"] for error in told["errors"]} == bad and all(place in told["detail"] for place in map(whole_name, request.places)), told
            self.figures["only dead letters"] += 1
            return "taken"
        if status in (200, 202):
            counts = told["rows"]
            assert (counts["written"] + counts["duplicate"], counts["rejected"]) == (fit, len(bad)), told
            assert counts["received"] == fit + len(bad) and {error["index"] for error in told["errors"]} == bad, told
            assert {one["table"] for one in told["tables"]} == set(map(whole_name, request.places)), told
            self.figures["dead letters"] += len(bad)
            return "taken"
        if told["code"] == "partly_written":
            assert request.is_for_many() and not request.is_atomic(), told
            self.figures["answers in part"] += 1
            return "open"
        if status in (500, 504):
            assert told.get("state") == {500: "unknown", 504: "pending"}[status], told
            return "open"
        assert status in (429, 503) or told["code"] == "schema_changed", told
        self.figures[f"answers {status}"] += 1
        return "not"

    def post(self, request):
        self.figures["requests"] += 1
        # Who counts may say anew each time how long it waits.
        ack = self.dice.choice(["commit", "wal"]) if self.kind == "producer" else "commit" if request.is_atomic() else self.kind
        body = slowly(request.body) if self.dice.random() < 0.05 else request.body
        url, patience = f"{self.server.url}/ingest/v1{request.target}&ack={ack}", self.dice.choice([0.2, 20, 20, 20, 20])
        try:
            return requests.post(url, data=body, headers=request.headers, timeout=patience)
        except requests.RequestException:
            return None

    def send_again(self, request):
        """After a certain answer: the same is told, and nothing more is written."""
        answer = self.post(request)
        self.figures["sent again"] += 1
        if answer is not None and answer.status_code in (200, 202, 422) and self.kind != "none":
            assert answer.json()["duplicate"], answer.text

    def send_the_wrong_way(self):
        request, last = self.request(), self.history[-1]
        if self.kind != "producer":
            make = self.maker.to_many if last.is_for_many() else self.maker.to_one
            request = make(last.tables, last.target)
            request.headers["Idempotency-Key"] = last.headers["Idempotency-Key"]
            self.send_what_is_refused(request, 422, "key_reused")
        elif self.sequence >= 0 and self.dice.random() < 0.5:
            request.headers["X-Producer-Seq"] = str(10**9)
            self.send_what_is_refused(request, 409, "producer_gap")
        elif self.sequence >= 0 and self.epoch > 0:
            request.headers["X-Producer-Epoch"] = str(self.epoch - 1)
            self.send_what_is_refused(request, 409, "producer_fenced")

    def send_what_is_refused(self, request, status, code=None):
        """Whatever is answered, none of it may ever be there."""
        note(self.refused, request)
        answer = self.post(request)
        if answer is not None and answer.status_code < 500 and answer.status_code != 429:
            said = answer.json()["code"]
            assert said == "schema_changed" or (answer.status_code == status and code in (None, said)), answer.text


def note(ids_by_table, request):
    for table, ids in request.places.items():
        ids_by_table[table].update(ids)


def slowly(body):
    yield body[:20]
    time.sleep(0.3)
    yield body[20:]


class Other(threading.Thread):
    """Beside it: a PyIceberg that appends; and one that changes columns, and makes and drops tables."""

    def __init__(self, server, over, works):
        super().__init__(daemon=True)
        self.server, self.over, self.works, self.dice = server, over, works, random.Random(SEED)
        self.next_id, self.number, self.fault, self.figures = 10**12, 0, None, collections.Counter()
        self.acknowledged, self.open, self.refused = (collections.defaultdict(set) for _ in range(3))

    def run(self):
        while not self.over.is_set():
            self.server.wait_while_it_starts()
            self.work()
            time.sleep(self.dice.uniform(0, 0.3))
        # In calm weather it succeeds, if not at once: another may have been faster.
        self.fault = self.work() and self.work() and self.work()

    def work(self):
        work = self.dice.choice(self.works)
        try:
            getattr(self, work)(self.server.pyiceberg())
            self.figures[work] += 1
        except Exception as fault:
            self.figures[f"{work} failed"] += 1
            return fault

    def append(self, catalog):
        name = self.dice.choice(TABLES)
        table = catalog.load_table(f"{NS}.{name}")
        ids = list(range(self.next_id, self.next_id + 5))
        self.next_id += len(ids)
        columns = table.schema().select("id", "part", "n", "text").as_arrow()
        self.open[name].update(ids)
        table.append(pa.Table.from_pylist([row(id) for id in ids], columns))
        self.acknowledged[name].update(ids)

    def change(self, catalog):
        """Widens each table's `n` once; after that columns are added, renamed and dropped that no client sends."""
        self.number += 1
        table = catalog.load_table(f"{NS}.{TABLES[self.number % 3]}")
        own = [field.name for field in table.schema().fields if field.name.startswith("other")]
        with table.update_schema() as update:
            if table.schema().find_type("n") != LongType():
                update.update_column("n", LongType())
            elif len(own) < 3:
                update.add_column(f"other{self.number}", LongType())
            elif self.dice.random() < 0.5:
                update.rename_column(own[0], f"other{self.number}")
            else:
                update.delete_column(own[0])

    def drop(self, catalog):
        self.number += 1
        url = f"{self.server.url}/ingest/v1/{NS}/gone{self.number}"
        requests.post(url, json=[row(id) for id in range(50)], timeout=20).raise_for_status()
        catalog.purge_table(f"{NS}.gone{self.number}")


class Reader(threading.Thread):
    """Beside it: one who reads table after table. Whatever was committed with what he saw in one is in those that come later."""

    def __init__(self, server, over, clients):
        super().__init__(daemon=True)
        self.server, self.over, self.clients, self.dice = server, over, clients, random.Random(f"{SEED} reader")
        self.fault, self.figures = None, collections.Counter()

    def run(self):
        while not self.over.is_set() and not self.fault:
            self.server.wait_while_it_starts()
            try:
                self.look(self.server.duckdb())
                self.figures["looks"] += 1
            except duckdb.Error:
                self.figures["look failed"] += 1
            except Exception as fault:
                self.fault = fault
            time.sleep(self.dice.uniform(0, 1))

    def look(self, db):
        tables = [*TABLES, *(table + REJECTED for table in TABLES)]
        self.dice.shuffle(tables)
        seen = {}
        for table in tables:
            ids = db.execute(f"SELECT {IDS[table.endswith(REJECTED)]} FROM ice.{NS}.{table}").fetchall()
            seen[table] = {id for (id,) in ids}
        for transaction in [one for client in self.clients for one in list(client.transactions)]:
            parts = [(table, len(seen[table].intersection(transaction[table])), len(transaction[table])) for table in tables if table in transaction]
            is_there = [there == all_of_it for _, there, all_of_it in parts]
            assert is_there == sorted(is_there) and all(there in (0, all_of_it) for _, there, all_of_it in parts), f"{parts} of {transaction}"
            self.figures["half seen"] += len(set(is_there)) - 1 if parts else 0
