"""`python -m bitvelocity`."""

from .cli import main

main()
