"""BitVelocity: declare a business entity once; follow it to a number that proves itself.

The words of a declaration are here; they are loaded when they are first named, so that `import bitvelocity` is free.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contracts import (
        Default,
        Doc,
        Entity,
        Index,
        Key,
        Length,
        Numeric,
        OneOf,
        Partition,
        Pattern,
        Pii,
        Range,
        Ref,
    )
    from .oltp.audit import audit
    from .oltp.audit_asgi import audit_asgi

__version__ = "0.1.0"

__all__ = [
    "Default", "Doc", "Entity", "Index", "Key", "Length", "Numeric", "OneOf", "Partition", "Pattern", "Pii", "Range",
    "Ref", "audit", "audit_asgi",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".oltp" if name.startswith("audit") else ".contracts", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
