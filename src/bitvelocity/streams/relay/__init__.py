"""A source's change sets over a bus: `Relay` puts them in, `BusSource` takes them out as they went in."""

from .boundaries import Boundary, boundary_of
from .relay import Relay
from .source import BusSource, Decode, Undecodable

__all__ = ["Boundary", "BusSource", "Decode", "Relay", "Undecodable", "boundary_of"]
