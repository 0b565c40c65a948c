"""The deciding half of beacond: no clock, no I/O, no asyncio, no logging.

Start with :mod:`beacond.core.node`; :mod:`beacond.core.model` has the words.
"""
