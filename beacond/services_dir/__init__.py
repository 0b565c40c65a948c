"""Instances that files in a folder declare. Start with :mod:`beacond.services_dir.watcher`."""

from beacond.services_dir.parsing import FileError, parse_file
from beacond.services_dir.watcher import FilesDoor, ServicesDir

__all__ = ["FileError", "FilesDoor", "ServicesDir", "parse_file"]
