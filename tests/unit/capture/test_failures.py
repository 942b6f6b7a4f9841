"""What the server answers becomes an error that says who acts, and how."""

from __future__ import annotations

import pytest

from bitvelocity.capture.failures import Place, failure
from bitvelocity.errors import CaptureError, ConnectionLostError

PLACE = Place("our_slot", "our_publication")


@pytest.mark.parametrize("sqlstate", [None, "", "08006", "57P01", "57P02", "57P03"])
def test_lost_connections_are_for_the_program_to_retry(sqlstate: str | None) -> None:
    error = failure(sqlstate, "terminating connection", PLACE)
    assert isinstance(error, ConnectionLostError)
    assert error.retry == "itself"


@pytest.mark.parametrize(
    ("sqlstate", "message", "code", "remedy"),
    [
        ("28P01", "password authentication failed", "CaptureError:28P01", "password"),
        ("42501", "permission denied for table t", "CaptureError:42501", "grant select"),
        ("42703", 'column "nocolumn" does not exist', "CaptureError:42703", "snapshot start <entity> --where"),
        ("3D000", 'database "x" does not exist', "CaptureError:3D000", "existing database"),
        ("53300", "too many connections", "CaptureError:53300", "max_wal_senders"),
        ("55006", "replication slot is active for PID 5", "SlotActive", "other reader"),
        ("42704", 'replication slot "our_slot" does not exist', "SlotGone", "drop"),
        ("42704", 'publication "our_publication" does not exist', "PublicationMissing", "bitvelocity apply"),
        ("58P01", "requested WAL segment has already been removed", "SlotInvalid", "max_slot_wal_keep_size"),
        ("55000", "can no longer get changes from replication slot", "SlotInvalid", "max_slot_wal_keep_size"),
        ("55000", "logical decoding requires wal_level >= logical", "WalLevel", "restart"),
        ("XX000", "something else", "CaptureError:XX000", "server's log"),
    ],
)
def test_refusals_are_for_a_person(sqlstate: str, message: str, code: str, remedy: str) -> None:
    error = failure(sqlstate, message, PLACE)
    assert isinstance(error, CaptureError)
    assert (error.retry, error.code) == ("person", code)
    assert remedy in (error.remedy or "")
    assert error.safe
