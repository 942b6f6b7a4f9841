"""What JetStream refuses: its numbers, and the errors that we make of them."""

from __future__ import annotations

from ...errors import BusError

NO_STREAM, NO_MESSAGE, WRONG_LAST = 10059, 10037, (10071, 10164)


class RefusedError(Exception):
    """JetStream said no; `number` is its `err_code`."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(what)
        self.number, self.what = number, what


def no_topic(topic: str) -> BusError:
    return BusError("There is no such topic.", entity=topic, code="NoTopic", remedy="Make it with `ensure`.")


def failed(refused: RefusedError, entity: str) -> BusError:
    """What JetStream refused, as our error."""
    return BusError(
        f"NATS refuses: {refused.what}.", entity=entity, remedy="See the server's log, and `nats stream info`.",
    )  # fmt: skip
