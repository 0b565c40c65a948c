"""beacond, Serf, etcd and ZooKeeper, each on three hosts of one machine, spoken to as users do.

`make freshness` and `make availability` drive them all through the same `Site` and `Host`.
"""
