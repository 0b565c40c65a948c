"""How soon others see what happens to a service: beacond beside Serf, etcd and ZooKeeper.

`make freshness`, or `python -m tests.freshness --help`.
"""
