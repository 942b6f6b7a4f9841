"""Readings of the stores' refrigeration: two sensors in each of twenty stores, one value every two hours."""

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
        moments, devices, sensors = self.window // EVERY, len(self.devices), len(SENSORS)
        at = np.repeat(np.arange(start, start + self.window, EVERY), devices * sensors)
        device = np.tile(np.repeat(np.arange(devices), sensors), moments)
        sensor = np.tile(np.arange(sensors), moments * devices)
        numbers = at // EVERY * 100_003 + self.numbers[device] * sensors + sensor
        mean = np.array(list(SENSORS.values()))[sensor]
        door_open = dice(numbers, 77) > 0.995
        return pl.DataFrame(
            {
                "device_id": np.array(self.devices)[device],
                "sensor_type": np.array(list(SENSORS))[sensor],
                "timestamp": pl.Series(at).cast(pl.Datetime("us", "UTC")),
                "sensor_value": np.round(mean + (dice(numbers, 78) - 0.5) * 1.6 + door_open * 6.0, 2),
            }
        )


def install_devices(shop: Shop, window: int) -> Telemetry:
    """One device for each of the first stores that sold something."""
    numbers = shop.orders["store_number"].unique(maintain_order=True).head(STORES).cast(pl.Int64)
    return Telemetry(tuple(stable_id("device", n) for n in numbers), numbers.to_numpy(), window)
