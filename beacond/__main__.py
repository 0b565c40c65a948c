"""`python -m beacond`."""

from beacond.cli import main

main()
