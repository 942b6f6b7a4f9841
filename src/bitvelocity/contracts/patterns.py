"""Regular expressions that mean the same in Python, PostgreSQL, Polars and DuckDB."""

from __future__ import annotations

import re
import warnings

from .problems import Wrong

_FOREIGN: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"\(\?(?:[=!]|<[=!])"), "looks ahead or behind", "split it: a Pattern and a rule"),
    (re.compile(r"\(\?P?<\w"), "names a group", "write (?:...)"),
    (re.compile(r"\(\?(?!:)"), "uses an extension (?...)", "write the cases out, as in [Aa]"),
    (re.compile(r"\\[1-9]"), "refers back to a group", "write the text out"),
    (re.compile(r"\\[bByY<>mM]"), "uses a word boundary, which each engine spells differently", "use [^...] or \\s"),
    (re.compile(r"\\[AZzG]"), "uses an anchor of one engine", "leave it out: the whole value is matched anyway"),
    (re.compile(r"\[[:=.]"), "uses a POSIX class", "write \\d, \\s, \\w or a range as in [A-Za-z]"),
    (re.compile(r"[*+?}]\+"), "repeats possessively", "remove the second +"),
    (re.compile(r"\{,"), "leaves the lower bound of a repetition open", "write {0,n}"),
    (re.compile(r"^\*\*\*"), "begins with ***, an instruction to PostgreSQL", "escape it: \\*\\*\\*"),
    (re.compile(r"\\[xuUNpPk]"), "uses an escape of one engine", "write the character itself"),
)
_MOST_REPEATS = 255


def check_pattern(regex: str) -> None:
    """Raise `Wrong` unless all our engines take the expression and agree on what it matches."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(regex)
    except (re.error, FutureWarning, DeprecationWarning) as error:
        raise Wrong(f"the pattern {regex!r} does not compile: {error}", "correct the expression") from error
    plain = regex.replace("\\\\", "  ")  # an escaped backslash begins nothing
    for construct, what, remedy in _FOREIGN:
        found = construct.search(plain)
        if found and not _escaped(plain, found.start()):
            raise Wrong(f"the pattern {regex!r} {what}; our engines do not agree on it", remedy)
    if any(int(count) > _MOST_REPEATS for count in re.findall(r"\{(?:\d+,)?(\d+)", plain)):
        raise Wrong(f"the pattern {regex!r} repeats more than {_MOST_REPEATS} times", "use Length for that")


def whole(regex: str) -> str:
    """The expression anchored to the whole value, as PostgreSQL's `~` wants it.

    >>> whole("A|B")
    '^(?:A|B)$'
    """
    return f"^(?:{regex})$"


def _escaped(text: str, at: int) -> bool:
    return at > 0 and text[at - 1] == "\\" and text[at] != "\\"
