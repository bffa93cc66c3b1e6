"""What clients push in the chaos test: rows for one table or for several, of which some do not fit. Each has an id of its own.

A row that does not fit bears its id in its text, by which its dead letter is known.
"""

import collections
import gzip
import io
import json
import time
from dataclasses import dataclass

import pyarrow as pa

from conftest import LONG

SECONDS = 1_800 if LONG else 24
NS, TABLES = "fire", ["t0", "t1", "t2"]
REJECTED = "__rejected"
# The dead letters of rows that say of no table that they belong there.
UNROUTED = f"ingest.unrouted{REJECTED}"
# A row's id, of a table and of dead letters, as DuckDB says it.
IDS = {False: "id", True: """regexp_extract(raw, '"id": ?([0-9]+)', 1)::BIGINT"""}
BAD = [("n", "seven"), ("n", 1 << 70), ("text", {"a": 1}), ("id", 1.5)]
# Those that keep their id; and the only one by which a table's first rows do not say that its columns are others.
MISFITS, OVERFLOWS = BAD[:3], BAD[1:2]


@dataclass
class Request:
    """Rows as they are sent, however often: their ids, by the table where each is to be."""

    # One or, where rows say themselves where they belong, a list.
    tables: str | list
    places: dict
    target: str
    body: bytes
    headers: dict

    def is_atomic(self):
        return "atomic=true" in self.target

    def is_for_many(self):
        return self.target.startswith("?")

    def fitting(self):
        """How many rows fit, and which do not, counted from 0."""
        ids = sorted(id for own in self.places.values() for id in own)
        bad = {id - ids[0] for place, own in self.places.items() for id in own if place.endswith(REJECTED)}
        return len(ids) - len(bad), bad

    def transactions(self):
        """Its rows, parted by what is certainly committed together."""
        if self.is_atomic():
            return [self.places]
        parts = collections.defaultdict(dict)
        for place, ids in self.places.items():
            parts[place.removesuffix(REJECTED)][place] = ids
        return list(parts.values())


class Maker:
    """Makes requests of ids of its own. A target says what is in the body, so that another is made for the same one."""

    def __init__(self, dice, first_id):
        self.dice, self.next_id = dice, first_id

    def to_one(self, table, target=None):
        target = target or self.target_of(table)
        some_bad, draw = "on_error=dlq" in target, self.dice.random()
        ids = self.ids([2, 3, 40] if some_bad else [1, 1, 3, 40])
        # The first rows of a table say what it is: it is not made of none.
        bad, rows = self.some_of(ids, all_too=table in TABLES) if some_bad else set(), [row(id) for id in ids]
        if 0.1 < draw < 0.3:
            kind, body = "application/vnd.apache.arrow.stream", stream_of(rows, bad)
        else:
            misfits = [("nowhere", 1)] if "strict" in target else MISFITS if table in TABLES else OVERFLOWS
            if draw < 0.1 and "strict" not in target:
                rows[-1][f"own{self.dice.randrange(8)}"] = "more"
            lines = [self.misfit(own, misfits) if own["id"] in bad else json.dumps(own) for own in rows]
            kind, body = "application/x-ndjson", "\n".join(lines).encode()
        places = {table: [id for id in ids if id not in bad], table + REJECTED: sorted(bad)}
        return self.packed(table, places, target, (kind, body))

    def to_many(self, tables=None, target=None):
        tables = tables or self.some_tables()
        target = target or self.target_for(tables)
        ids = self.ids([3, 6, 40])
        bad = self.some_of(ids, all_too=set(tables) <= set(TABLES)) if "on_error=dlq" in target else set()
        places, lines = collections.defaultdict(list), []
        for at, id in enumerate(ids):
            table, place = tables[at % len(tables)], at % len(tables)
            route = f"r{place}" if "map=" in target else f"{NS}.{table}"
            place, line = self.routed(row(id), table, route, target) if id in bad else (table, json.dumps(sent_to(route, row(id), target)))
            places[place].append(id)
            lines.append(line)
        return self.packed(tables, places, target, ("application/x-ndjson", "\n".join(lines).encode()))

    def refused(self, table, by_one_only):
        """One of which nothing may be written: a row that does not fit is enough, or none fits and none is kept."""
        ids, draw = self.ids([1, 1, 3, 40]), self.dice.random()
        tables, rows, bad = [table], [row(id) for id in ids], set(ids)
        if draw < 0.4:
            bad, (column, value) = {self.dice.choice(ids)}, self.dice.choice(BAD)
            lines = [json.dumps({**own, column: value} if own["id"] in bad else own) for own in rows]
            target = self.target_of(table, dlq=False)
        elif draw < 0.7 or by_one_only:
            lines, target = [self.misfit(own, MISFITS) for own in rows], skipping(self.target_of(table, dlq=True))
        else:
            tables = self.some_tables(made=False)
            target = skipping(self.target_for(tables, dlq=True)) if draw > 0.85 else self.target_for(tables, dlq=False)
            bad = bad if draw > 0.85 else {ids[-1]}
            routes = [f"r{at % len(tables)}" if "map=" in target else f"{NS}.{tables[at % len(tables)]}" for at in range(len(ids))]
            rows = [{**own, "n": "seven"} if own["id"] in bad else own for own in rows]
            lines = [json.dumps(sent_to(route, own, target)) for route, own in zip(routes, rows)]
        places = {place: ids for table in tables for place in (table, table + REJECTED)}
        return self.packed(tables, {**places, UNROUTED: ids}, target, ("application/x-ndjson", "\n".join(lines).encode()))

    def ids(self, sizes):
        ids = range(self.next_id, self.next_id + self.dice.choice(sizes))
        self.next_id = ids.stop
        return ids

    def some_of(self, ids, all_too):
        """Some of them; or all, where that may be."""
        if all_too and self.dice.random() < 0.2:
            return set(ids)
        return set(self.dice.sample(ids, self.dice.randint(1, min(len(ids) - 1, 5))))

    def some_tables(self, made=True):
        tables = self.dice.sample(TABLES, self.dice.choice([2, 3]))
        if made and self.dice.random() < 0.1:
            tables[0] = f"routed{third()}"
        return tables

    def timeout(self):
        return f"timeout={self.dice.choice(['50ms', '60s', '60s'])}"

    def target_of(self, table, dlq=None):
        target = f"/{NS}/{table}?{self.timeout()}" + ("" if table in TABLES[1:] else "&partition_by=part")
        if dlq or (dlq is None and self.dice.random() < 0.3):
            target += "&on_error=dlq" + ("&schema=strict" if dlq is None and table in TABLES and self.dice.random() < 0.3 else "")
        return target

    def target_for(self, tables, dlq=None):
        target = f"?{self.dice.choice(['route=/t', 'envelope=true'])}&{self.timeout()}"
        if self.dice.random() < 0.3:
            target += "&map=" + ",".join(f"r{at}={NS}.{table}" for at, table in enumerate(tables))
        if dlq or (dlq is None and self.dice.random() < 0.5):
            target += "&on_error=dlq"
        return target + self.dice.choice(["", "&atomic=true"])

    def misfit(self, own, misfits):
        """A row that does not fit, or is no JSON."""
        if self.dice.random() < 0.25:
            return self.cut(json.dumps(own))
        column, value = self.dice.choice(misfits)
        return json.dumps({**own, column: value})

    def cut(self, line):
        return line[: self.dice.randrange(line.index('"part"'), len(line))]

    def routed(self, own, table, route, target):
        """The same of a row for one of several tables, and the table of its dead letter."""
        if self.dice.random() < 0.2:
            lost = [None, {}, "none such"] if "map=" in target else [None, {}]
            return UNROUTED, json.dumps(sent_to(self.dice.choice(lost), own, target))
        if self.dice.random() < 0.2:
            return UNROUTED, self.cut(json.dumps(sent_to(route, own, target)))
        column, value = self.dice.choice(MISFITS if table in TABLES else OVERFLOWS)
        return table + REJECTED, json.dumps(sent_to(route, {**own, column: value}, target))

    def packed(self, tables, places, target, content):
        kind, body = content
        headers = {"content-type": kind}
        if self.dice.random() < 0.2:
            headers, body = {**headers, "content-encoding": "gzip"}, gzip.compress(body)
        return Request(tables, {place: ids for place, ids in places.items() if ids}, target, body, headers)


def skipping(target):
    return target.replace("on_error=dlq", "on_error=skip")


def row(id):
    return {"id": id, "part": id % 3, "n": id % 1_000, "text": f"r{id}"}


def whole_name(table):
    return table if "." in table else f"{NS}.{table}"


def sent_to(route, own, target):
    return {"table": route, "row": own} if "envelope" in target else {**own, "t": route}


def third():
    """Tables that everybody wants to make: another one in each third of a run."""
    return int(time.time() * 3) // SECONDS


def stream_of(rows, bad):
    types = pa.schema([("id", pa.int64()), ("part", pa.int32()), ("n", pa.uint64() if bad else pa.int32()), ("text", pa.string())])
    rows = [{**own, "n": (1 << 64) - 1} if own["id"] in bad else own for own in rows]
    out = io.BytesIO()
    with pa.ipc.new_stream(out, types) as stream:
        stream.write_table(pa.Table.from_pylist(rows, types))
    return out.getvalue()
