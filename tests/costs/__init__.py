"""What `beacond plan` reckons with, measured again: `python -m tests.costs`."""
