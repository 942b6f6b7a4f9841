"""Whole tables read beside the stream, and joined to it without gap or overlap."""

from .book import Book, Order, Verb, give_order, means, orders, read_book
from .differing import DifferenceSet, Found, snapshot_set
from .initial import Reader, SnapshotSet
from .ranges import as_json as parts_told
from .ranges import from_json as parts_from
from .reading import WATERMARK
from .readings import Readable, Readings
from .runs import Run

__all__ = [
    "WATERMARK", "Book", "DifferenceSet", "Found", "Order", "Readable", "Reader", "Readings", "Run", "SnapshotSet",
    "Verb", "give_order", "means", "orders", "parts_from", "parts_told", "read_book", "snapshot_set",
]  # fmt: skip
