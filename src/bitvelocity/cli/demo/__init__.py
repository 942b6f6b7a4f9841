"""The demo: the commerce project, a replay of real orders, and what a newcomer sees of it."""

from .run import DemoOptions, run_demo

__all__ = ["DemoOptions", "run_demo"]
