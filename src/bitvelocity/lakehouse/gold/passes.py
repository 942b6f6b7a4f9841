"""One pass over the models: what each has to compute again, and the receipt of what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from .diff import Difference
from .model import Model
from .planner import Strategy
from .state import State

FULL_SHARE = 0.3
"""Above this share of an input's rows, following the changes costs more than computing the model anew."""
FULL_ROWS = 10_000
"""Below this many changed rows the share does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldReceipt:
    """What gold did with one commit. Models that nothing touched are not named.

    - `rows`: rows of gold that really changed; `strategies` and `reasons`: how they were found, and why so.
    - `versions`: table ("gold/daily_sales") -> Delta version, of all gold tables.
    - `seconds`: step -> wall seconds.
    """

    lsn: int
    rows: Mapping[str, int] = field(default_factory=dict)
    strategies: Mapping[str, Strategy] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


class Pass:
    """One pass over the models: what each has to compute again, and what came of it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._touched: dict[str, list[pa.Table]] = {}
        self._seen: Counter[tuple[str, str]] = Counter()
        self._full: dict[str, str] = {}
        self._strategies: dict[str, Strategy] = {}
        self._reasons: dict[str, str] = {}
        self._rows: dict[str, int] = {}

    def note(self, table: str, difference: Difference) -> None:
        """A table has changed: find what that touches in the models that read it.

        Call it right after the change, and before the next: see `rewrite.py`.
        """
        if not len(difference):
            return
        for name, plan in self._state.plans.items():
            how = plan.inputs.get(table)
            if how is None or name in self._full:
                continue
            changed = difference.touching(how.columns)
            if not changed.num_rows:
                continue
            if how.strategy == "full":
                self._full[name] = how.reason
            elif self._many(name, table, changed.num_rows):
                self._full[name] = f"{self._seen[name, table]} rows of {table} changed, so that all is cheaper than each"
            else:
                self._touched.setdefault(name, []).append(self._state.touched(how, changed))

    def _many(self, name: str, table: str, rows: int) -> bool:
        self._seen[name, table] += rows
        return self._seen[name, table] > max(FULL_ROWS, FULL_SHARE * self._state.count(table))

    def compute(self, model: Model) -> Difference | None:
        """Compute a model as far as it was touched, and note what that touches in turn."""
        plan = self._state.plans[model.name]
        if reason := self._full.get(model.name):
            difference = self._state.recompute_all(plan)
            self.say(model.name, "full", reason, len(difference))
        elif keys := self._keys(model.name):
            difference = self._state.recompute(plan, keys)
            self.say(model.name, "affected", f"{keys.num_rows} keys were touched; {plan.reason}", len(difference))
        else:
            return None
        self.note(model.table, difference)
        return difference

    def say(self, name: str, strategy: Strategy, reason: str, rows: int) -> None:
        """Note how a model was computed."""
        self._strategies[name], self._reasons[name], self._rows[name] = strategy, reason, rows

    def receipt(self, lsn: int, versions: Mapping[str, int], seconds: Mapping[str, float]) -> GoldReceipt:
        """All of it."""
        return GoldReceipt(
            lsn=lsn,
            rows=self._rows,
            strategies=self._strategies,
            reasons=self._reasons,
            versions=versions,
            seconds=seconds,
        )

    def _keys(self, name: str) -> pa.Table | None:
        parts = self._touched.get(name)
        if not parts:
            return None
        keys = pa.concat_tables(parts)
        keys = keys.group_by(keys.column_names).aggregate([])
        return keys if keys.num_rows else None
