"""BitVelocity: declare a business entity once; follow it to a number that proves itself."""

__version__ = "0.1.0"
