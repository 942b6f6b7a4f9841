"""The header that a copy has: which offset its record had."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..bus import PLACE_HEADER, RECORD_SCHEMA
from ..placing import header_values, with_header

OFFSET_HEADER = "bv-offset"
"""Header of a copied record with the offset that it had where it was copied from, decimal."""


def marked(records: pa.Table) -> pa.Table:
    """Fetched records as they are written: with their offset, and without the header of their place."""
    offsets = pa.array(records["offset"].to_numpy()).cast(pa.string()).cast(pa.binary())
    kept = _without(records["headers"].combine_chunks(), (OFFSET_HEADER, PLACE_HEADER))
    headers = with_header(kept, OFFSET_HEADER, offsets)
    return pa.Table.from_arrays(
        [headers if name == "headers" else records[name] for name in RECORD_SCHEMA.names], schema=RECORD_SCHEMA
    )


def offsets_before(records: pa.Table) -> npt.NDArray[np.int64]:
    """The offset that each record had; -1 for one that was not copied."""
    values, rows = header_values(records, OFFSET_HEADER)
    found = np.full(records.num_rows, -1, np.int64)
    found[rows] = values.cast(pa.string()).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return found


def _without(headers: Any, names: tuple[str, ...]) -> Any:
    """Each row's headers but those of these names."""
    pairs: Any = headers.cast(pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())])))
    flat, of = pc.list_flatten(pairs), np.asarray(pc.list_parent_indices(pairs), np.int64)
    stays = np.asarray(pc.invert(pc.is_in(pc.struct_field(flat, [0]), pa.array(names))))
    kept = flat.filter(pa.array(stays))
    ends = np.append(0, np.cumsum(np.bincount(of[stays], minlength=len(headers)))).astype(np.int32)
    bounds: Any = pa.array(ends)
    return pa.MapArray.from_arrays(bounds, pc.struct_field(kept, [0]), pc.struct_field(kept, [1]))
