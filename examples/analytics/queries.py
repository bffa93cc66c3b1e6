#!/usr/bin/env python3
"""Asks what `queries.sql` asks, and shows the first rows of each answer and how long it took. Needs `pip install duckdb`.

    python3 examples/analytics/queries.py [--json]      FLOEBERG_URL, FLOEBERG_TOKEN: of which server, and with which token

With `--json` each answer is one line, and whole: {"title", "seconds", "columns", "rows"}.
"""

import json
import os
import pathlib
import sys
import time

import duckdb

SHOWN = 10


def statements():
    """What is asked, each with the comment right before it."""
    for text in pathlib.Path(__file__).with_name("queries.sql").read_text().split(";\n"):
        lines = text.strip().splitlines()
        comment = [line[3:] for line in lines if line.startswith("--")]
        sql = "\n".join(line for line in lines if not line.startswith("--"))
        if sql:
            yield comment[-1] if comment else "", sql


def attach(database):
    url, token = os.environ.get("FLOEBERG_URL", "http://127.0.0.1:8181"), os.environ.get("FLOEBERG_TOKEN")
    if token:
        database.execute(f"CREATE SECRET floeberg (TYPE iceberg, TOKEN '{token}')")
    who = "SECRET floeberg" if token else "AUTHORIZATION_TYPE 'none'"
    database.execute(f"ATTACH '' AS floeberg (TYPE iceberg, ENDPOINT '{url}', {who}, ACCESS_DELEGATION_MODE 'none')")


def show(title, seconds, columns, rows):
    print(f"\n{title}\n")
    shown = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in row] for row in rows[:SHOWN]]
    widths = [max(map(len, column)) for column in zip(columns, *shown)]
    for row in [columns, *shown]:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths)).rstrip())
    print(f"{len(rows)} rows, {len(shown)} shown, in {seconds:.3f} s")


def main():
    database = duckdb.connect()
    for title, sql in statements():
        if sql.startswith("ATTACH"):
            attach(database)
            continue
        since = time.monotonic()
        answer = database.execute(sql)
        if not sql.startswith("SELECT"):
            continue
        rows, columns = answer.fetchall(), [column[0] for column in answer.description]
        seconds = time.monotonic() - since
        if "--json" in sys.argv:
            print(json.dumps({"title": title, "seconds": seconds, "columns": columns, "rows": rows}, default=str))
        else:
            show(title, seconds, columns, rows)


if __name__ == "__main__":
    main()
