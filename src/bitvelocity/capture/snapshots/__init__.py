"""Whole tables read beside the stream, and joined to it without gap or overlap."""

from .book import Book, Order, Verb, give_order, means, orders, read_book
from .differing import DifferenceSet, Found, snapshot_set
from .initial import SnapshotSet
from .reading import WATERMARK
from .readings import Readable, Readings
from .runs import Run

__all__ = [
    "WATERMARK", "Book", "DifferenceSet", "Found", "Order", "Readable", "Readings", "Run", "SnapshotSet", "Verb",
    "give_order", "means", "orders", "read_book", "snapshot_set",
]  # fmt: skip
