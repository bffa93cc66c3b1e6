"""The demo does what it says, and what it prints to copy works as printed."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import conftest
from conftest import BINARY, CACHE, Process, answers
from trino_server import Trino


def start(folder):
    folder.mkdir(exist_ok=True)
    (folder / "out").unlink(missing_ok=True)
    process = Process([BINARY, "demo"], folder / "out", cwd=folder)
    process.wait_for("the demo", lambda: "The server goes on" in (folder / "out").read_text())
    return process, (folder / "out").read_text()


def snippet(text, title):
    """What stands below a title, up to the next one."""
    titles = [
        "Push a row (curl)", "Read with PyIceberg", "Read with DuckDB", "Read with Spark 3.5", "Read with Trino", "and then (trino", "The server goes on",
    ]
    rest = text.split(title, 1)[1].split(":\n", 1)[1]
    for other in titles:
        rest = rest.split(f"\n{other}", 1)[0]
    return rest.strip()


def spark_sql(command, folder):
    """The lines that a command of Spark's prints. Packages are those of the tests' cache, which knows no Maven repository."""
    settings = folder / "ivysettings.xml"
    settings.write_text(
        f"""<ivysettings><settings defaultResolver="cached"/><caches defaultCacheDir="{folder}/ivy"/><resolvers>
        <filesystem name="cached"><artifact pattern="{CACHE}/jars/[artifact]-[revision].[ext]"/></filesystem>
        </resolvers></ivysettings>"""
    )
    (folder / "spark-defaults.conf").write_text(f"spark.jars.ivySettings {settings}\nspark.ui.enabled false\nspark.driver.memory 1g\n")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SPARK_CONF_DIR": str(folder), "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    return [line for line in done.stdout.splitlines() if "\t" in line]


def test_the_demo_runs_and_its_snippets_work(tmp_path):
    process, text = start(tmp_path / "demo")
    url = re.search(r"Iceberg REST catalog +(\S+)", text).group(1)
    assert "Pushed 5025 flights" in text and "time_day=2013-01-06  1 file" in text

    curl = subprocess.run(["bash", "-c", snippet(text, "Push a row (curl)")], capture_output=True, text=True, check=True)
    assert '"written":1' in curl.stdout, curl.stdout
    python = subprocess.run(
        [sys.executable, "-c", snippet(text, "Read with PyIceberg")], capture_output=True, text=True, check=True
    )
    assert python.stdout.strip().endswith("5026") and "JFK" in python.stdout

    db = conftest.duckdb.connect()
    for module in (conftest.duckdb_extension_httpfs, conftest.duckdb_extension_avro, conftest.duckdb_extension_iceberg):
        db.execute(f"LOAD '{conftest.extension_file(module)}'")
    found = []
    for statement in snippet(text, "Read with DuckDB").split(";"):
        if statement.strip():
            found = db.execute(statement).fetchall()
    assert found[0][0] == "B6" and ("FB", 1, None) in found and sum(row[1] for row in found) == 5026

    assert sum(int(line.split("\t")[1]) for line in spark_sql(snippet(text, "Read with Spark 3.5"), tmp_path)) == 5026
    trino = Trino(tmp_path / "trino", {"floeberg": snippet(text, "Read with Trino")})
    busiest = trino.sql(snippet(text, "and then (trino"))
    trino.stop()
    assert len(busiest) == 5 and all(len(dest) == 3 and flights > 10 for dest, flights in busiest), busiest

    assert process.stop(signal.SIGINT) == 0
    assert not answers(f"{url}/health/live")
    process, text = start(tmp_path / "demo")
    assert "from the last time" in text
    process.stop()


def test_the_demo_takes_another_port_when_the_usual_one_is_taken(tmp_path):
    first, text = start(tmp_path / "one")
    second, other = start(tmp_path / "two")
    urls = [re.search(r"Iceberg REST catalog +(\S+)", out).group(1) for out in (text, other)]
    assert urls[0] != urls[1] and all(answers(f"{url}/health/ready") for url in urls)
    first.stop()
    second.stop()
