"""Values that the source did not send (unchanged TOAST), filled from the latest earlier row of the key.

A row leans on the row before it: the latest one in the batch that had its key before the change. Chains of such rows,
also over changes of key, are followed in columns: each round moves all rows one link on. What leaves the batch is
looked up once, for all keys together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from .columns import Mask, frame, series
from .typed import UNFIT, TypedRows, named

Rows = npt.NDArray[np.int64]
Earlier = Callable[[pl.DataFrame, Sequence[str]], pl.DataFrame]
"""Given keys and column names: those keys that are known, with the latest value of each column."""


def absent_columns(absent: pl.Series, lake_names: Mapping[str, str]) -> dict[str, Mask]:
    """Which rows lack which column (lake names)."""
    masks: dict[str, Mask] = {}
    for text in absent.drop_nulls().unique():
        rows = (absent == text).fill_null(False).to_numpy()
        for name in json.loads(text):
            if name in lake_names:
                lake = lake_names[name]
                masks[lake] = masks[lake] | rows if lake in masks else rows
    return masks


def filled(typed: TypedRows, key: Sequence[str], lake_names: Mapping[str, str], earlier: Earlier) -> pl.DataFrame:
    """The rows with absent values filled in; `_absent` keeps the columns of a row that nobody knows."""
    rows = frame(typed.rows)
    masks = absent_columns(rows["_absent"], lake_names)
    if not masks:
        return rows.with_columns(pl.lit(None, pl.String).alias("_absent"))
    links = _links(rows, frame(typed.previous), key)
    roots = {name: _root(links, mask) for name, mask in masks.items()}
    outside = {name: mask & mask[root] for (name, mask), root in zip(masks.items(), roots.values(), strict=True)}
    asked = _any(outside)
    known = _look_up(frame(typed.previous), roots, outside, earlier) if asked.any() else None
    for name, mask in masks.items():
        values = rows[name].gather(roots[name])
        if known is not None and outside[name].any():
            found = known[name].gather(roots[name])
            values = values.zip_with(pl.Series(~outside[name]), found)
        rows = rows.with_columns(rows[name].zip_with(pl.Series(~mask), values).alias(name))
        rows = rows.with_columns(_unfit(rows[UNFIT], name, roots[name], mask=mask, outside=outside[name], known=known))
    left = named(_unknown(outside, roots, known), len(rows))
    return rows.with_columns(series(left).alias("_absent"))


def _links(rows: pl.DataFrame, previous: pl.DataFrame, key: Sequence[str]) -> Rows:
    """For each row, the latest row above it that had its previous key; -1 when the batch has none."""
    count = len(rows)
    keys = pl.concat([rows.select(key), previous.select(key)])
    numbered = keys.unique(maintain_order=True).with_row_index("_id")
    found = keys.join(numbered, on=list(key), how="left", maintain_order="left", nulls_equal=True)
    ids = found["_id"].to_numpy().astype(np.int64)
    places = np.sort(ids[:count] * count + np.arange(count))
    sought = ids[count:] * count + np.arange(count)
    at = np.searchsorted(places, sought) - 1
    hit = places[np.maximum(at, 0)]
    return np.where((at >= 0) & (hit // count == ids[count:]), hit % count, -1)


def _root(links: Rows, absent: Mask) -> Rows:
    """For each row, the row that has its value, or the last one of the chain that leaves the batch."""
    place = np.arange(len(links))
    while True:
        following = links[place]
        moves = absent[place] & (following >= 0)
        if not moves.any():
            return place
        place = np.where(moves, following, place)


def _look_up(
    previous: pl.DataFrame, roots: Mapping[str, Rows], outside: Mapping[str, Mask], earlier: Earlier
) -> pl.DataFrame:
    """What lies outside the batch, in the order of its rows: NULL where a key is unknown, `_known` says which."""
    wanted = np.zeros(len(previous), bool)
    for name, mask in outside.items():
        wanted[roots[name][mask]] = True
    keys = previous.filter(pl.Series(wanted)).unique()
    found = earlier(keys, (*outside, UNFIT, "_absent")).with_columns(_known=pl.lit(True))
    return previous.join(found, on=previous.columns, how="left", maintain_order="left", nulls_equal=True)


def _unknown(outside: Mapping[str, Mask], roots: Mapping[str, Rows], known: pl.DataFrame | None) -> dict[str, Mask]:
    if known is None:
        return {}
    missing = known["_known"].is_null().to_numpy()
    never = absent_columns(known["_absent"], {name: name for name in outside})  # the row before it had none either
    lost = {name: mask & (missing | never.get(name, False))[roots[name]] for name, mask in outside.items()}
    return {name: mask for name, mask in lost.items() if mask.any()}


def _unfit(
    told: pl.Series, name: str, roots: Rows, *, mask: Mask, outside: Mask, known: pl.DataFrame | None
) -> pl.Series:
    """A value that came from another row and did not fit there does not fit here: say so, and what it was.

    A step per such row, of which there are few: held back, large, and not of its type.
    """
    before = told.gather(roots)
    if known is not None:
        before = before.zip_with(pl.Series(~outside), known[UNFIT].gather(roots))
    which = np.flatnonzero(mask & before.is_not_null().to_numpy())
    told_now = {}
    for row in which.tolist():
        said = json.loads(before[row])
        if name in said:
            own = json.loads(told[row]) if told[row] else {}
            own[name] = said[name] if isinstance(said, dict) else None
            told_now[row] = json.dumps(own, ensure_ascii=False, separators=(",", ":"))
    return told.scatter(list(told_now), list(told_now.values())) if told_now else told


def _any(masks: Mapping[str, Mask]) -> Mask:
    marked: Mask = np.logical_or.reduce(list(masks.values()))
    return marked
