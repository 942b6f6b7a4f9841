"""SIGKILL to `up` and to PostgreSQL at random moments: nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bitvelocity.flow import open_project, open_reader, prepare, source_database
from bitvelocity.oltp import connect
from bitvelocity.serving import ask
from bitvelocity.templates import copy_project

Run = Callable[..., subprocess.CompletedProcess[str]]
BENCH = Path(__file__).resolve().parents[2] / "bench" / "kills.py"


def test_nothing_is_lost_and_nothing_comes_twice() -> None:
    """The bench's own story, shorter; the judge is a second slot of the server."""
    words = ["--kills", "4", "--postgres", "2", "--lines", "1500", "--json"]
    done = subprocess.run([sys.executable, str(BENCH), *words], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert outcome["events"] > 10_000
    assert outcome["bronze"] == outcome["events"], "by the server's own count"
    assert outcome["distinct"] == outcome["events"]
    assert outcome["reconciled"], "silver is the source, gold its recompute"
    assert outcome["revenue"] == outcome["expected"], "by the books of the replay"
    assert (outcome["kills_of_up"], outcome["kills_of_postgres"]) == (4, 2)
    assert outcome["streamed"] > 0, "transactions that came before their commit"
    assert outcome["stopped_well"], "the last up ran to the end, over the deaths of its server"


ROWS = 30_000
READINGS = """
insert into device_telemetry select gen_random_uuid(), 'door', timestamptz '2024-01-01 00:00+00' + n * interval '1 s', n / 3.0
  from generate_series(1, %s) as n
"""
MOMENTS = ("lake/bronze/device_telemetry/*.parquet", "lake/silver/device_telemetry_changes/*.parquet", "lake/watermark.json")
"""Files whose coming says how far the first snapshot is."""


def test_killed_in_the_first_snapshot(open_folder: Path, bitvelocity: Run) -> None:
    """Each start begins it anew until one has published it; then none does."""
    folder = open_folder / "shop"
    copy_project("commerce", folder)
    project = open_project(folder)
    with source_database(project) as database:
        prepare(project, database.dsn)
        with connect(database.dsn, autocommit=True) as connection:
            connection.execute(READINGS, [ROWS])
        for moment in MOMENTS:
            kill_when(folder, moment)
        done = bitvelocity("reconcile", "--json", cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    with open_reader(project) as reader:
        count = "select count(*) as events, count(distinct (_lsn, _ordinal)) as places, count(distinct _lsn) as lsns"
        assert ask(reader, f"{count} from bronze.device_telemetry").as_dicts() == [
            {"events": ROWS, "places": ROWS, "lsns": 1}
        ]


def kill_when(folder: Path, moment: str) -> None:
    """Start `up`, and kill it as soon as a file is there that the moment names."""
    command = [sys.executable, "-m", "bitvelocity", "up", "--project", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as up:
        while not any((folder / ".bitvelocity").glob(moment)):
            assert up.poll() is None, up.stderr and up.stderr.read()
            time.sleep(0.005)
        up.send_signal(signal.SIGKILL)
