"""Fleets of real agents in virtual time, on buses that fail in every way we know of.

What is real: the core, and every byte that the wire makes of its messages. What is simulated:
time, the buses with their brokers and clients, disks, TCP, and the hosts' clocks.
"""
