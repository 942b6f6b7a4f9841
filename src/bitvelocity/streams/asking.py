"""How a question to a broker is asked again, while what is wrong with its answer passes by."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import BusError

PAUSE_S = 0.05

Given = TypeVar("Given")


def asked_again(ask: Callable[[], Given], lasts: Callable[[BusError], float], *, pause: float = PAUSE_S) -> Given:
    """The answer to a question, asked again for as many seconds as its error may last."""
    began = time.monotonic()
    while True:
        try:
            return ask()
        except BusError as error:
            if time.monotonic() - began >= lasts(error):
                raise
            time.sleep(pause)
