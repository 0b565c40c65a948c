"""beacond: the service discovery daemon that never stops answering."""

__version__ = "0.1.0"
