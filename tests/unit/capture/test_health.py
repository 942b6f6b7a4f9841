"""What the server says of a slot becomes a state, findings and a remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bitvelocity.capture import SlotHealth, Thresholds, slot_health
from bitvelocity.capture.health import judge

if TYPE_CHECKING:
    from tests.unit.capture.conftest import Bench

FINE = SlotHealth(slot="s", exists=True, state="ok", active_pid=1, wal_status="reserved")


@pytest.mark.parametrize(
    ("facts", "state", "finding"),
    [
        ({}, "ok", None),
        ({"active_pid": None}, "warn", "Nobody reads"),
        ({"lag_bytes": 300 << 20}, "warn", "300 MB of WAL behind"),
        ({"retained_bytes": 2 << 30}, "warn", "keeps 2,048 MB of WAL for the slot. No limit is set"),
        ({"retained_bytes": 20 << 30, "keep_limit": 30 << 30}, "bad", "keeps 20,480 MB"),
        ({"safe_wal_size": 2 << 30}, "warn", "2,048 MB more"),
        ({"safe_wal_size": 5 << 20, "active_pid": None}, "bad", "5 MB more"),
        ({"wal_status": "lost"}, "bad", "gave the slot up"),
        ({"invalidation_reason": "idle_timeout"}, "bad", "idle_timeout"),
    ],
)
def test_a_slot_is_judged(facts: dict[str, Any], state: str, finding: str | None) -> None:
    judged = judge(replace(FINE, **facts), Thresholds())
    assert judged.state == state
    assert (finding is None) == (judged.findings == ())
    assert finding is None or finding in judged.findings[0]
    assert (judged.remedy is None) == (finding is None)


@pytest.mark.every_postgres
def test_health_tells_what_the_slot_costs(source_db: Bench) -> None:
    absent = slot_health(source_db.dsn, source_db.slot)
    assert (absent.exists, absent.state) == (False, "bad")
    source_db.run(
        "create table orders (id bigint, name text, note text)",
        "create publication bitvelocity for table orders",
    )
    source = source_db.open()
    source_db.snapshot(source)
    source_db.fill(1, 2000)
    idle = slot_health(source_db.dsn, source_db.slot)
    assert (idle.exists, idle.state, idle.active_pid) == (True, "warn", None)
    assert idle.retained_bytes >= idle.lag_bytes > 0
    source_db.tail(source)
    source_db.until(lambda: slot_health(source_db.dsn, source_db.slot).confirmed_flush > idle.confirmed_flush)
    read = slot_health(source_db.dsn, source_db.slot)
    assert read.active_pid is not None
    tight = slot_health(source_db.dsn, source_db.slot, thresholds=Thresholds(bad_retained=1, warn_retained=1))
    assert tight.state == "bad"
