"""What a subject is called: a name within a context, `:.staging:orders-value`."""

from __future__ import annotations

from dataclasses import dataclass

from .refusals import invalid_subject

DEFAULT_CONTEXT = "."
RESERVED = ("__GLOBAL", "__EMPTY")


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """A named history of schemas. An empty name stands for the whole context: its settings, not a history."""

    context: str
    name: str

    def __str__(self) -> str:
        return self.name if self.context == DEFAULT_CONTEXT else f":{self.context}:{self.name}"

    @property
    def whole_context(self) -> Subject:
        """Where this subject's settings come from when it has none."""
        return Subject(self.context, "")


GLOBAL = Subject(DEFAULT_CONTEXT, "")


def read_subject(text: str, context: str = DEFAULT_CONTEXT) -> Subject:
    """The subject that a client names; a context in the name wins over that of the address."""
    if text.startswith(":."):
        context, colon, text = text[1:].partition(":")
        if not colon:
            raise invalid_subject(f":{context}")
    if text in RESERVED or any(ord(letter) < 32 for letter in text):
        raise invalid_subject(text)
    return Subject(context_name(context), text)


def context_name(text: str) -> str:
    """A context as it is kept: with its dot, without colons."""
    plain = text.strip(":")
    return plain if plain.startswith(".") else f".{plain}"
