"""The sums of `changes.Sums` in SQL over a lake: rows in buckets by hash, as the source makes them of what it prints."""

from __future__ import annotations

from collections.abc import Iterable

_BUCKET_ROWS = 100
"""Rows of a bucket, about: what is read of the source for each row that differs."""
_MOST_BUCKETS = 1 << 16


def buckets_for(rows: int) -> int:
    """Into how many buckets so many rows go."""
    return min(_MOST_BUCKETS, max(1, rows // _BUCKET_ROWS))


def text_sql(printed: Iterable[str]) -> str:
    """The text of values, of which the hash is taken."""
    return f"concat_ws(chr(31), {', '.join(f'coalesce({value}, chr(30))' for value in printed)})"


def trimmed_sql(printed: str) -> str:
    """A printed decimal without the zeros at its end."""
    return rf"CASE WHEN contains({printed}, '.') THEN regexp_replace({printed}, '\.?0+$', '') ELSE {printed} END"


def bucket_sql(text: str, buckets: int) -> str:
    """The bucket of a row by the text of its key."""
    return f"('0x' || md5({text})[1:4])::INT % {buckets}"


def hash_sql(text: str) -> str:
    """The hash of a row by its text."""
    return f"('0x' || md5({text})[1:15])::BIGINT"


def in_buckets(bucket: str, chosen: Iterable[int]) -> str:
    """The condition that keeps the rows of the chosen buckets."""
    return f"{bucket} IN ({', '.join(map(str, chosen))})"
