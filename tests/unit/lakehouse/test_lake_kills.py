"""kill -9 between any two steps of the lake: the next process goes on, and nothing is lost or doubled."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
from deltalake import DeltaTable
from tests.forked import python

from bitvelocity.contracts import EntitySpec
from bitvelocity.lakehouse import LakeReader, read_watermark

LAST = 40
WRITER = """
import os, pickle, random, sys
from pathlib import Path
import pyarrow as pa
from bitvelocity.changes import SYSTEM_FIELDS, Batch, Mark
from bitvelocity.lakehouse import Care, Lake, Watermark, publish

root, spec, dice = Path(sys.argv[1]), pickle.loads(bytes.fromhex(sys.argv[2])), random.Random(sys.argv[3])
last, left = int(sys.argv[4]), dice.randint(5, 150)

def fault(step):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)

def batch(relation, lsns):
    rows = [(lsn, n) for lsn in lsns for n in range(3)]
    given = {"_op": ["u"] * len(rows), "_lsn": [lsn for lsn, _ in rows], "_ordinal": [n for _, n in rows], "_xid": [1] * len(rows)}
    data = {name: pa.array(given.get(name, [None] * len(rows)), kind) for name, kind in SYSTEM_FIELDS}
    text = lambda values: pa.array(values, pa.string_view())
    for name in spec.by_name:
        values = {"region": ["eu"] * len(rows), "id": [str(lsn % 7) for lsn, _ in rows], "note": [f"{l}.{n}" for l, n in rows]}
        data["after_" + name] = text(values.get(name, [None] * len(rows)))
        data["before_" + name] = text([None] * len(rows))
    return Batch(relation, tuple(spec.by_name), pa.table(data))

lake = Lake(root, [spec], care=Care(fold_rows=20, fold_rest=0, keep=0), at=fault)
position = max(lake.position(), 0)
while position < last:
    end = min(last, position + dice.randint(1, 4))
    start = max(0, position - dice.randint(0, 3))
    lsns = range(start + 1, end + 1)
    middle = dice.randint(0, len(lsns))
    for part in (lsns[:middle], lsns[middle:]):
        lake.stage(batch(spec.qualified, part))
    lake.commit(Mark(end, end))
    fault("before publishing")
    publish(root, Watermark(position=end, resume=end, tables=lake.versions()))
    position = end
os._exit(0)
"""


@pytest.mark.parametrize("seed", ["b", "c"])
def test_kills_lose_and_double_nothing(tmp_path: Path, spec: EntitySpec, seed: str) -> None:
    dice = random.Random(seed)
    kills = 0
    for _ in range(30):
        ended = python("-c", WRITER, str(tmp_path), pickle.dumps(spec).hex(), str(dice.random()), str(LAST))
        assert ended.returncode in (0, -9), ended.stderr
        _check(tmp_path, spec)
        if ended.returncode == 0:
            break
        kills += 1
    mark = read_watermark(tmp_path)
    assert mark is not None
    assert (mark.position, kills > 0) == (LAST, True)


def _check(root: Path, spec: EntitySpec) -> None:
    """What is published is the source's state at that position, each event once; no table is half anything."""
    for table in ("bronze/items", "silver/items_changes"):
        if (root / table / "_delta_log").exists() and DeltaTable.is_deltatable(str(root / table)):
            events = DeltaTable(root / table).to_pyarrow_table().select(["_lsn", "_ordinal"]).to_pylist()
            assert len(events) == len({(event["_lsn"], event["_ordinal"]) for event in events}), "doubled"
    with LakeReader(root, [spec]) as reader:
        mark = reader.refresh()
        if mark is None:
            return
        found = reader.connection.sql("SELECT id, note FROM silver.items").fetchall()
        expected = {lsn % 7: f"{lsn}.2" for lsn in range(1, mark.position + 1)}
        assert dict(found) == expected
        assert len(found) == len(expected)
        count = reader.connection.sql("SELECT count(*), count(DISTINCT event_id) FROM bronze.items").fetchall()
        assert count == [(3 * mark.position, 3 * mark.position)]
