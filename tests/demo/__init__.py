"""The main job on real input: `make demo`, or `python -m tests.demo`."""
