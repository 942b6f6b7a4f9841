"""Reconciliation in words."""

from __future__ import annotations

from collections.abc import Sequence

from ..lakehouse import EntityVerdict, ModelVerdict
from ..lakehouse.gold.verify import RowDifference

MOST_NAMED = 3


def entity_sentence(verdict: EntityVerdict) -> str:
    """One line on silver against its source."""
    if verdict.ok:
        words = f"{verdict.silver:,} rows equal the source, in {verdict.parts} parts by count and hash"
    else:
        words = (
            f"{verdict.silver:,} rows, the source has {verdict.source:,}: "
            f"{_counts(verdict)} in {verdict.parts_differing} of {verdict.parts} parts{_named(verdict.samples)}"
        )
    if verdict.unfit:
        words += f"; {verdict.unfit:,} rows hold a value that the type cannot (see _unfit; bronze has it as printed)"
    return words


def model_sentence(verdict: ModelVerdict) -> str:
    """One line on gold against its recompute."""
    if verdict.ok:
        return f"{verdict.stored:,} rows equal their full recompute"
    return f"{verdict.stored:,} rows, the recompute gives {verdict.rows:,}: {_counts(verdict)}{_named(verdict.samples)}"


def _counts(verdict: EntityVerdict | ModelVerdict) -> str:
    kinds = {name: getattr(verdict, name) for name in ("missing", "extra", "different")}
    return ", ".join(f"{count:,} {name}" for name, count in kinds.items() if count)


def _named(samples: Sequence[RowDifference]) -> str:
    keys = [", ".join(str(value) for value in sample.key.values()) for sample in samples[:MOST_NAMED]]
    return f" (first: {'; '.join(keys)})" if keys else ""
