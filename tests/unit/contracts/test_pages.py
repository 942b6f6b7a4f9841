"""The pages about entities tell every word that there is."""

import re
from pathlib import Path

import bitvelocity.contracts
from bitvelocity.contracts import PII_CLASSES
from bitvelocity.contracts.entity import EntityKeywords
from bitvelocity.contracts.fields import MONEY_WORDS
from bitvelocity.contracts.types import Kind

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "entities.md").read_text(encoding="utf-8")


def test_every_exported_name_is_told() -> None:
    assert not [name for name in bitvelocity.contracts.__all__ if not re.search(rf"`[^`]*\b{name}\b[^`]*`", PAGE)]


def test_every_keyword_is_told() -> None:
    assert not [keyword for keyword in EntityKeywords.__annotations__ if f"\n| `{keyword}` |" not in PAGE]


def test_every_logical_type_is_told() -> None:
    kinds = [kind for kind in Kind.__args__ if kind not in ("enum", "other", "array")]  # type: ignore[attr-defined]
    assert not [kind for kind in kinds if not re.search(rf"`{kind}[`(]", PAGE)]


def test_lists_of_words_are_whole() -> None:
    assert not [name for name in PII_CLASSES if f"`{name}`" not in PAGE]
    assert not [word for word in MONEY_WORDS if f"*{word}*" not in PAGE]
