"""`floeberg ingest`: files become rows of a table, each once, whoever is killed in between."""

import csv
import gzip
import io
import json
import random
import re
import subprocess
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from conftest import BINARY, LONG, Floeberg, Process, free_ports, name_of, run

SUMMARY = re.compile(r"rows (\d+) written, (\d+) rejected, (\d+) duplicate from (\d+) files?[ ,]")
# Some eighty bytes a row: a request takes about a hundred thousand.
WORDS = ["lorem", "ipsum", "dolor", "sit", "amet", "consectetur"]


@pytest.fixture
def table(request):
    """A table's name that no other test has."""
    return f"{name_of(request)}.rows"


def lines(first, end):
    return "".join(
        f'{{"id":{i},"text":"{WORDS[i % 6]} {"x" * (i % 50)}","more":"{i * 2654435761 % 2**32:032}"}}\n' for i in range(first, end)
    )


def ingest(server, *arguments, cwd, status=0, seconds=300, **options):
    """(written, rejected, duplicate, files) as the command says, and what it said beside it."""
    command = [BINARY, "ingest", "--url", server.url, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=seconds, **options)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == status, out + err
    assert SUMMARY.match(out), out
    return tuple(map(int, SUMMARY.match(out).groups())), err


def read(server, table, *columns):
    found = server.pyiceberg().load_table(table).scan(selected_fields=columns or ("*",)).to_arrow()
    return found.sort_by("id")


def ids(server, table):
    return read(server, table, "id")["id"].to_pylist()


def snapshots(server, table):
    namespace, name = table.split(".")
    answer = requests.get(f"{server.url}/v1/namespaces/{namespace}/tables/{name}", timeout=10)
    return len(answer.json()["metadata"].get("snapshots", [])) if answer.status_code == 200 else 0


def until_it_grows(server, table, process):
    """Waits for a snapshot more; whether the process is still there."""
    before = snapshots(server, table)
    while process.child.poll() is None and snapshots(server, table) == before:
        time.sleep(0.005)
    return process.child.poll() is None


def test_lines_arrive_once_and_are_not_sent_again(local_lake, table, tmp_path):
    (tmp_path / f"{table}.ndjson").write_text(lines(0, 250_000))
    counts, err = ingest(local_lake, f"{table}.ndjson", cwd=tmp_path)
    assert counts == (250_000, 0, 0, 1) and "250000 rows written" in err
    assert snapshots(local_lake, table) > 1, "it takes several requests"
    assert ids(local_lake, table) == list(range(250_000))
    counts, err = ingest(local_lake, f"{table}.ndjson", cwd=tmp_path)
    assert counts == (0, 0, 0, 1) and "nothing left to send" in err
    assert len(ids(local_lake, table)) == 250_000
    # Another state of the file is another file.
    (tmp_path / f"{table}.ndjson").write_text(lines(0, 10))
    assert ingest(local_lake, f"{table}.ndjson", cwd=tmp_path)[0] == (10, 0, 0, 1)


def test_cells_with_line_ends_in_them(local_lake, table, tmp_path):
    texts = [f'row {i}\n"quoted", {"y" * (i % 90)}\r\n;\tend' for i in range(150_000)]
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["id", "text, with a comma"])
    writer.writerows(enumerate(texts))
    (tmp_path / "cells.csv").write_text(out.getvalue(), newline="")
    assert ingest(local_lake, "--table", table, "cells.csv", cwd=tmp_path)[0] == (150_000, 0, 0, 1)
    found = read(local_lake, table)
    assert snapshots(local_lake, table) > 1
    assert found["id"].to_pylist() == list(range(150_000)) and found["text, with a comma"].to_pylist() == texts
    (tmp_path / "more.tsv").write_text("id\ttext, with a comma\n150000\ta\n150001\tb\n")
    assert ingest(local_lake, "--table", table, "more.tsv", cwd=tmp_path)[0] == (2, 0, 0, 1)
    (tmp_path / "none.csv").write_text("id\n\n")
    assert ingest(local_lake, "--table", table, "none.csv", cwd=tmp_path)[0] == (0, 0, 0, 1)
    (tmp_path / "other.csv").write_text("150002;'c\n;d'\n150003;'e'\n")
    params = ["--param", "delimiter=;", "--param", "quote='", "--param", "header=false"]
    assert ingest(local_lake, "--table", table, *params, "other.csv", cwd=tmp_path)[0] == (2, 0, 0, 1)
    assert read(local_lake, table)["text, with a comma"].to_pylist()[-4:] == ["a", "b", "c\n;d", "e"]


def test_compressed_files(local_lake, table, tmp_path):
    with gzip.open(tmp_path / "one.ndjson.gz", "wb") as out:
        out.write(lines(0, 150_000).encode())
    # Files that were joined are one.
    packed = b"".join(pa.compress(lines(*part).encode(), "zstd", asbytes=True) for part in [(150_000, 200_000), (200_000, 300_000)])
    (tmp_path / "two.ndjson.zst").write_bytes(packed)
    assert ingest(local_lake, "--table", table, "one.ndjson.gz", "two.ndjson.zst", cwd=tmp_path)[0] == (300_000, 0, 0, 2)
    assert ids(local_lake, table) == list(range(300_000))
    assert ingest(local_lake, "--table", table, "one.ndjson.gz", "two.ndjson.zst", cwd=tmp_path)[0] == (0, 0, 0, 2)
    (tmp_path / "cut.ndjson.gz").write_bytes((tmp_path / "one.ndjson.gz").read_bytes()[:-10])
    _, err = ingest(local_lake, "--table", table, "cut.ndjson.gz", cwd=tmp_path, status=1)
    assert "cut.ndjson.gz FAILED" in err


def columns(first, end):
    numbers = range(first, end)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "word": pa.array([WORDS[i % 6] for i in numbers]).dictionary_encode(),
            "text": pa.array([f"{i:0100}" if i % 7 else None for i in numbers]),
            "day": pa.array([i % 20_000 for i in numbers], pa.int32()).cast(pa.date32()),
            "list": pa.array([[i, None] for i in numbers], pa.list_(pa.int64())),
            "in": pa.array([{"a": i % 3, "b": [WORDS[i % 6]]} for i in numbers]),
        }
    )


def test_files_of_columns(local_lake, table, tmp_path):
    pq.write_table(columns(0, 150_000), tmp_path / "one.parquet", row_group_size=50_000)
    with pa.OSFile(str(tmp_path / "two.arrow"), "wb") as out, pa.ipc.new_file(out, columns(0, 9).schema) as writer:
        writer.write_table(columns(150_000, 250_000))
    with pa.OSFile(str(tmp_path / "three.arrows"), "wb") as out, pa.ipc.new_stream(out, columns(0, 9).schema) as writer:
        writer.write_table(columns(250_000, 260_000))
    files = ["one.parquet", "two.arrow", "three.arrows"]
    assert pq.ParquetFile(tmp_path / "one.parquet").num_row_groups == 3
    assert ingest(local_lake, "--table", table, *files, cwd=tmp_path)[0] == (260_000, 0, 0, 3)
    assert snapshots(local_lake, table) > 3, "it takes several requests"
    found, truth = read(local_lake, table).to_pylist(), columns(0, 260_000).to_pylist()
    assert found == truth
    assert ingest(local_lake, "--table", table, *files, cwd=tmp_path)[0] == (0, 0, 0, 3)
    (tmp_path / "bad.parquet").write_bytes((tmp_path / "one.parquet").read_bytes()[:1000])
    assert "bad.parquet FAILED" in ingest(local_lake, "--table", table, "bad.parquet", cwd=tmp_path, status=1)[1]


def test_patterns_lists_and_standard_input(local_lake, table, tmp_path):
    for part in range(5):
        (tmp_path / f"part-{part}.ndjson").write_text(lines(part * 100, part * 100 + 100))
    (tmp_path / "part-x.txt").write_text("not this")
    # As a shell would not expand it: the same file is sent once.
    counts, _ = ingest(local_lake, "--table", table, "part-?.ndjson", "part-0.ndjson", tmp_path / "part-1.*", cwd=tmp_path)
    assert counts == (500, 0, 0, 5)
    (tmp_path / "list.json").write_text("\n " + json.dumps([{"id": i} for i in range(500, 510)], indent=2))
    assert ingest(local_lake, "--table", table, "list.json", cwd=tmp_path)[0] == (10, 0, 0, 1)
    many = lines(510, 150_000).encode()
    assert ingest(local_lake, "--table", table, "-", cwd=tmp_path, input=many)[0] == (149_490, 0, 0, 1)
    cells = b"id,text\n" + b"".join(b"%d,x\n" % i for i in range(150_000, 150_100))
    assert ingest(local_lake, "--table", table, "--format", "csv", "-", cwd=tmp_path, input=cells)[0] == (100, 0, 0, 1)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema([("id", pa.int64())])) as writer:
        writer.write_table(pa.table({"id": range(150_100, 150_200)}))
    arguments = ["--table", table, "--format", "arrow", "-"]
    assert ingest(local_lake, *arguments, cwd=tmp_path, input=sink.getvalue())[0] == (100, 0, 0, 1)
    assert ids(local_lake, table) == list(range(150_200))


def test_what_cannot_be_done_is_said_before_a_row_is_sent(local_lake, table, tmp_path):
    (tmp_path / "rows.ndjson").write_text(lines(0, 1))
    (tmp_path / "rows.log").write_text(lines(0, 1))
    (tmp_path / "folder").mkdir()
    for arguments, said in [
        (["rows.ndjson"], "--table"),
        (["--table", "rows", "rows.ndjson"], "NAMESPACE.TABLE"),
        (["--table", table, "rows.log"], "--format"),
        (["--table", table, "rows.ndjson", "none.ndjson"], "none.ndjson names no file"),
        (["--table", table, "*.none"], "*.none names no file"),
        (["--table", table, "folder"], "is a folder"),
        (["--table", table, "--param", "ack=wal", "rows.ndjson"], "ack"),
    ]:
        done = run("ingest", "--url", local_lake.url, *arguments, cwd=tmp_path)
        assert done.returncode == 1 and said in done.stderr, done.stderr
    done = run("ingest", "--table", table, "rows.ndjson", cwd=tmp_path)
    assert done.returncode == 1 and "floeberg serve" in done.stderr, "nobody has the directory open"
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = run("ingest", "--url", nobody, "--table", table, "rows.ndjson", cwd=tmp_path)
    assert done.returncode == 1 and "does not answer" in done.stderr and "floeberg serve" in done.stderr
    assert snapshots(local_lake, table) == 0
    # The one that has the directory open is meant where none is named.
    done = run("ingest", "--table", table, str(tmp_path / "rows.ndjson"), cwd=local_lake.folder)
    assert done.returncode == 0 and SUMMARY.match(done.stdout), done.stderr
    assert ids(local_lake, table) == [0]


def test_a_bad_row_ends_its_file_alone(local_lake, table, tmp_path):
    (tmp_path / "a.ndjson").write_text(lines(0, 100))
    (tmp_path / "b.ndjson").write_text(lines(100, 150) + '{"id":"one hundred and fifty"}\n' + lines(151, 200))
    (tmp_path / "c.ndjson").write_text(lines(200, 300))
    arguments = ["--table", table, "--parallel", "1", "a.ndjson", "b.ndjson", "c.ndjson"]
    counts, err = ingest(local_lake, *arguments, cwd=tmp_path, status=1)
    assert counts == (200, 0, 0, 3)
    assert "b.ndjson FAILED from byte 0 on" in err and "line 51, /id" in err and "1 of 100 rows" in err
    assert ids(local_lake, table) == [*range(100), *range(200, 300)]
    assert ingest(local_lake, *arguments, cwd=tmp_path, status=1)[0] == (0, 0, 0, 3)
    counts, _ = ingest(local_lake, "--on-error", "skip", *arguments, cwd=tmp_path)
    assert counts == (99, 1, 0, 3)
    assert ids(local_lake, table) == [*range(150), *range(151, 300)]
    # Everything that the server does not know is said in its words.
    _, err = ingest(local_lake, "--param", "nonsense=1", "--table", f"{table}_2", "a.ndjson", cwd=tmp_path, status=1)
    assert "a.ndjson FAILED" in err and "nonsense" in err


@pytest.mark.parametrize("on_error", ["skip", "dlq"])
def test_many_bad_rows_in_a_row_are_left_out(local_lake, table, tmp_path, on_error):
    """More than a server leaves out of one request, and more than a request has."""
    table, bad = f"{table}_{on_error}", 320_000
    (tmp_path / "a.ndjson").write_text(lines(0, 1_000) + '{"id":"bad"}\n' * bad + lines(1_000, 2_000) + '{"id":\n')
    ingest(local_lake, "--table", table, "-", cwd=tmp_path, input=lines(2_000, 2_001).encode())
    arguments = ["--table", table, "--on-error", on_error, "a.ndjson"]
    assert ingest(local_lake, *arguments, cwd=tmp_path)[0] == (2_000, bad + 1, 0, 1)
    assert ids(local_lake, table) == [*range(2_001)]
    again, _ = ingest(local_lake, *arguments, cwd=tmp_path)
    assert again[0] == 0 and ids(local_lake, table) == [*range(2_001)]
    if on_error == "dlq":
        letters = local_lake.pyiceberg().load_table(f"{table}__rejected").scan(selected_fields=("raw",)).to_arrow()
        assert letters["raw"].value_counts().to_pylist() == [
            {"values": '{"id":"bad"}', "counts": bad}, {"values": '{"id":', "counts": 1}
        ] and again == (0, 0, 0, 1)


def test_a_command_that_is_killed_goes_on(local_lake, table, tmp_path):
    rows = 800_000
    (tmp_path / "big.ndjson").write_text(lines(0, rows))
    pq.write_table(columns(rows, rows + 200_000).select(["id"]), tmp_path / "more.parquet", row_group_size=10_000)
    with gzip.open(tmp_path / "packed.ndjson.gz", "wb", compresslevel=1) as out:
        out.write(lines(rows + 200_000, rows + 500_000).encode())
    arguments = ["--table", table, "--parallel", "2", "big.ndjson", "more.parquet", "packed.ndjson.gz"]
    command = [BINARY, "ingest", "--url", local_lake.url, *arguments]
    generator, killed = random.Random(5), 0
    for _ in range(30):
        process = Process(command, tmp_path / "log", cwd=tmp_path)
        if not until_it_grows(local_lake, table, process):
            break
        time.sleep(generator.uniform(0, 0.15))
        process.kill()
        killed += process.child.returncode != 0
    assert killed >= 3, (tmp_path / "log").read_text()
    ingest(local_lake, *arguments, cwd=tmp_path)
    assert ids(local_lake, table) == list(range(rows + 500_000))
    assert ingest(local_lake, *arguments, cwd=tmp_path)[0] == (0, 0, 0, 3)


def test_two_commands_at_once_send_every_row_once(local_lake, table, tmp_path):
    (tmp_path / "rows.ndjson").write_text(lines(0, 600_000))
    command = [BINARY, "ingest", "--url", local_lake.url, "--table", table, "rows.ndjson"]
    both = [Process(command, tmp_path / f"log{number}", cwd=tmp_path) for number in range(2)]
    for process in both:
        assert process.child.wait(300) == 0, process.log.read_text()
    assert ids(local_lake, table) == list(range(600_000))


def test_a_server_that_is_killed_is_waited_for(table, tmp_path):
    server = Floeberg(tmp_path / "lake")
    for part in range(2):
        (tmp_path / f"part{part}.ndjson").write_text(lines(part * 500_000, part * 500_000 + 500_000))
    command = [BINARY, "ingest", "--url", server.url, "--table", table, "--parallel", "2", "part*.ndjson"]
    process = Process(command, tmp_path / "log", cwd=tmp_path)
    killed = 0
    while killed < (10 if LONG else 3) and until_it_grows(server, table, process):
        server.kill()
        killed += 1
        time.sleep(0.2)
        server.start()
    assert process.child.wait(300) == 0, process.log.read_text()
    assert killed >= 2 and "trying again" in process.log.read_text(), process.log.read_text()
    assert ids(server, table) == list(range(1_000_000))
    assert ingest(server, "--table", table, "part*.ndjson", cwd=tmp_path)[0] == (0, 0, 0, 2)
    assert server.stop() == 0


@pytest.mark.skipif(not LONG, reason="a file of several stripes has hundreds of megabytes")
def test_a_large_file_is_sent_in_stripes(table, tmp_path):
    server, rows, step = Floeberg(tmp_path / "lake"), 8_000_000, 200_000
    with (tmp_path / "large.ndjson").open("w") as out:
        for first in range(0, rows, step):
            out.write(lines(first, first + step))
    assert (tmp_path / "large.ndjson").stat().st_size > 2 * (256 << 20)
    arguments = ["--table", table, "large.ndjson"]
    for _ in range(3):
        process = Process([BINARY, "ingest", "--url", server.url, *arguments], tmp_path / "log", cwd=tmp_path)
        for _ in range(5):
            assert until_it_grows(server, table, process), process.log.read_text()
        process.kill()
    ingest(server, *arguments, cwd=tmp_path, seconds=1_800)
    found = server.duckdb().execute(f"SELECT count(*), count(DISTINCT id), min(id), max(id) FROM ice.{table}").fetchone()
    assert found == (rows, rows, 0, rows - 1)
    assert ingest(server, *arguments, cwd=tmp_path)[0] == (0, 0, 0, 1)
    assert server.stop() == 0


def test_objects_of_a_bucket(local_lake, table, tmp_path, seaweedfs):
    client, prefix = seaweedfs.client(), f"incoming-{table.replace('.', '-')}"
    for part in range(3):
        pq.write_table(columns(part * 1000, part * 1000 + 1000), tmp_path / "part.parquet")
        client.put_object(Bucket=seaweedfs.bucket, Key=f"{prefix}/part-{part}.parquet", Body=(tmp_path / "part.parquet").read_bytes())
    client.put_object(Bucket=seaweedfs.bucket, Key=f"{prefix}/more.ndjson.gz", Body=gzip.compress(lines(3000, 4000).encode()))
    client.put_object(Bucket=seaweedfs.bucket, Key=f"{prefix}/deep/part-9.parquet", Body=b"not looked into")
    # The keys are those of the warehouse in the same bucket.
    (tmp_path / "floeberg.toml").write_text(seaweedfs.config("elsewhere"))
    url = f"s3://{seaweedfs.bucket}/{prefix}"
    assert ingest(local_lake, "--table", table, f"{url}/part-*.parquet", cwd=tmp_path)[0] == (3000, 0, 0, 3)
    assert ingest(local_lake, "--table", table, f"{url}/*.parquet", f"{url}/more.ndjson.gz", cwd=tmp_path)[0][0] == 1000
    assert ids(local_lake, table) == list(range(4000))
