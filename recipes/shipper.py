#!/usr/bin/env python3
"""Ships a growing file of JSON lines into a table, each line exactly once, and remembers nothing itself.

    python3 recipes/shipper.py FILE NAMESPACE/TABLE [--producer NAME] [--once]      FLOEBERG_URL, FLOEBERG_TOKEN

How far it came stands in the table, with the rows: each chunk of lines has a number and the byte up to which it reaches
(`X-Producer-Seq`, `X-Offset-Token`), which are kept in the transaction that makes its rows visible. Whoever starts asks where that
is and goes on from there. It may be killed at any moment, and so may the server.

Why that is exactly once: a number is taken once, and a chunk with the next number begins where the one before it ended,
whoever sends it. But which of two chunks with the same number was taken (this one, or one that a killed shipper had under way)
`duplicate` does not say. So after that, and after everything else that is no plain yes, it asks anew where it is. And it does
not raise the epoch when it starts: in a new epoch what is still under way in the old one would not be a duplicate.

A file that is shorter than what was shipped of it was begun anew: then the epoch is raised, and it is shipped from its start.
What it held before and was not shipped is gone; files that are named by the day and stay have each a shipper of their own.
A line that does not fit stops the shipper, which says which: nothing is left out. Lines without an end wait for it.
"""

import argparse
import json
import os
import random
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException

CHUNK = 1 << 20
# Seconds between two looks at the file, and the longest pause after a failure.
LOOK, LONGEST = 1, 30


class Again(Exception):
    """There was no answer, or one that says: another time."""


class Shipper:
    def __init__(self, server, table, producer, token):
        self.target = f"{server}/ingest/v1/{table}"
        name = table.partition("?")[0].replace("/", ".")
        self.question = f"{server}/ingest/v1?" + urllib.parse.urlencode({"producer": producer, "table": name})
        self.headers = {"content-type": "application/x-ndjson", "x-producer-id": producer}
        if token:
            self.headers["authorization"] = f"Bearer {token}"

    def standing(self):
        """Epoch, number and byte of the last chunk that is in the table."""
        status, answer = self.call(urllib.request.Request(self.question, headers=self.headers))
        if status == 404:
            return 0, -1, 0
        if status != 200:
            sys.exit(f"the server does not say where it is: {answer['detail']}")
        return answer["epoch"], -1 if answer["sequence"] is None else answer["sequence"], int(answer["offset_token"])

    def send(self, epoch, number, end, lines):
        """Whether a chunk was taken, and not another one with its number."""
        place = {"x-producer-epoch": str(epoch), "x-producer-seq": str(number), "x-offset-token": str(end)}
        status, answer = self.call(urllib.request.Request(self.target, lines, {**self.headers, **place}))
        if status in (200, 202):
            return not answer["duplicate"]
        # Here another shipper is ahead, or a table was made anew; or its columns were, meanwhile.
        if answer.get("code") in ("producer_gap", "producer_fenced", "schema_changed"):
            return False
        sys.exit(f"refused are lines from byte {end - len(lines)} on: {answer['detail']}\n{told(answer['errors'])}")

    def call(self, request):
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            if refusal.code == 429 or refusal.code >= 500:
                raise Again(f"{refusal.code} {refusal.reason}") from refusal
            return refusal.code, problem_of(refusal)
        except (OSError, HTTPException, ValueError) as fault:
            raise Again(str(fault)) from fault


def problem_of(refusal):
    try:
        return json.loads(refusal.read())
    except (OSError, HTTPException, ValueError):
        return {"detail": str(refusal), "errors": []}


def told(errors):
    return "\n".join(f"  line {error['line']} of them, {error['pointer']}: {error['detail']}" for error in errors)


def whole_lines(file, start):
    """What is there from a byte on, up to the end of a line: a chunk of it, or one line that is longer."""
    file.seek(start)
    lines = file.read(CHUNK)
    if len(lines) == CHUNK and b"\n" not in lines:
        lines += file.readline()
    return lines[: lines.rfind(b"\n") + 1]


def ship(shipper, path, once):
    place, pause = None, LOOK
    while True:
        try:
            place = place or shipper.standing()
            epoch, number, start = place
            with open(path, "rb") as file:
                if os.fstat(file.fileno()).st_size < start:
                    epoch, number, start = epoch + 1, -1, 0
                lines = whole_lines(file, start)
            if lines.strip():
                number += 1
                if not shipper.send(epoch, number, start + len(lines), lines):
                    raise Again("this chunk was not what is next")
            if lines:
                place, pause = (epoch, number, start + len(lines)), LOOK
                continue
            if once:
                return
        except FileNotFoundError:
            # Another is about to take its place.
            if once:
                raise
        except Again as fault:
            print(f"again: {fault}", file=sys.stderr)
            place, pause = None, min(2 * pause, LONGEST)
        time.sleep(pause * random.uniform(0.5, 1))


def main():
    arguments = argparse.ArgumentParser(usage="shipper.py FILE NAMESPACE/TABLE [--producer NAME] [--once]")
    arguments.add_argument("file")
    arguments.add_argument("table", help="may be followed by what a push takes: shop/orders?partition_by=day(at)")
    arguments.add_argument("--producer", help="who sends; the file's path on this machine if absent")
    arguments.add_argument("--once", action="store_true", help="stop when all is shipped")
    given = arguments.parse_args()
    producer = given.producer or urllib.parse.quote(f"{socket.gethostname()}:{os.path.abspath(given.file)}", safe=":/")
    server = os.environ.get("FLOEBERG_URL", "http://127.0.0.1:8181")
    ship(Shipper(server, given.table, producer, os.environ.get("FLOEBERG_TOKEN")), given.file, given.once)


if __name__ == "__main__":
    main()
