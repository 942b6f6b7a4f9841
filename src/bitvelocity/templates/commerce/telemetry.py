"""Readings of the stores' refrigeration: two sensors in each of the busiest stores, one value every two hours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from .shop import Ints, Shop, dice, stable_id

STORES = 20
EVERY = 7_200_000_000
SENSORS = {"fridge_celsius": 4.0, "freezer_celsius": -19.0}


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The devices of a shop, and `count` readings per window of the replay."""

    devices: tuple[str, ...]
    numbers: Ints
    window: int

    @property
    def count(self) -> int:
        return len(self.devices) * len(SENSORS) * (self.window // EVERY)

    def readings(self, start: int) -> pl.DataFrame:
        """The readings of the window that begins at `start`, in order of time; the same on every run."""
        at = np.arange(start, start + self.window, EVERY)
        frames = [self._sensor(at, sensor, mean) for sensor, mean in SENSORS.items()]
        return pl.concat(frames).sort("timestamp", "device_id", "sensor_type")

    def _sensor(self, at: Ints, sensor: str, mean: float) -> pl.DataFrame:
        moment = np.repeat(at, len(self.devices))
        numbers = np.tile(self.numbers, len(at))
        noise = dice(moment // EVERY * 100_003 + numbers, len(sensor)) - 0.5
        door_open = dice(moment // EVERY * 100_003 + numbers, 77) > 0.995
        return pl.DataFrame(
            {
                "device_id": np.tile(np.array(self.devices), len(at)),
                "sensor_type": sensor,
                "timestamp": pl.Series(moment).cast(pl.Datetime("us")),
                "sensor_value": np.round(mean + noise * 1.6 + door_open * 6.0, 2),
            }
        )


def install_devices(shop: Shop, window: int) -> Telemetry:
    """One device for each of the stores with the most orders."""
    counts = shop.orders.group_by("store_number").len().sort(["len", "store_number"], descending=[True, False])
    numbers = counts["store_number"].head(STORES).sort().cast(pl.Int64)
    return Telemetry(tuple(stable_id("device", n) for n in numbers), numbers.to_numpy(), window)
