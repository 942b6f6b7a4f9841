"""Who acts must be said: one statement trigger per table and partition, none per row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..contracts.spec import EntitySpec
from .steps import Step

TRIGGER = "bv_context"
REASONS = {
    "strict": "A write whose transaction does not say who acts is refused.",
    "fallback": "A write whose transaction does not say who acts is told of the session.",
    "off": "Transactions need not say who acts.",
}


def context_trigger(spec: EntitySpec, target: str, found: Mapping[str, str]) -> Iterator[Step]:
    """Make, change or remove the trigger of the table or of one partition: a statement fires those of the table that it names."""
    have = found.get(TRIGGER)
    if spec.audit_context == "off":
        if have is not None:
            sql = f"drop trigger {TRIGGER} on {target}"
            yield Step(sql=sql, reason=REASONS["off"], entity=spec.name)
        return
    function = f"context_{spec.audit_context}()"
    if have is None or function not in have:
        sql = (
            f"create or replace trigger {TRIGGER} before insert or update or delete or truncate on {target}"
            f" for each statement execute function bv.{function}"
        )
        yield Step(sql=sql, reason=REASONS[spec.audit_context], entity=spec.name)
