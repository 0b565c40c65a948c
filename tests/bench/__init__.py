"""Measurements of the whole agent beside something known, `make bench`: see docs/performance.md.

Nothing here passes or fails; figures are reported with their spread and with what a reference did
in the same minutes, since the same machine gives other figures on another day.
"""
