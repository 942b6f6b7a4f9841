"""SIGKILL to `up` and to PostgreSQL at random moments: nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "kills.py"


@pytest.fixture(scope="module")
def outcome() -> dict[str, Any]:
    """The bench's own story, shorter."""
    words = ["--kills", "4", "--postgres", "2", "--lines", "1500", "--json"]
    done = subprocess.run([sys.executable, str(BENCH), *words], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_each_committed_change_is_in_bronze_once(outcome: dict[str, Any]) -> None:
    assert outcome["events"] > 10_000
    assert outcome["bronze"] == outcome["events"], "by the server's own count"
    assert outcome["distinct"] == outcome["events"]


def test_silver_is_the_source_and_gold_its_recompute(outcome: dict[str, Any]) -> None:
    assert outcome["reconciled"]
    assert outcome["revenue"] == outcome["expected"], "by the books of the replay"


def test_it_met_what_it_should_survive(outcome: dict[str, Any]) -> None:
    assert (outcome["kills_of_up"], outcome["kills_of_postgres"]) == (4, 2)
    assert outcome["streamed"] > 0, "transactions that came before their commit"
    assert outcome["stopped_well"], "the last up ran to the end, over the deaths of its server"
