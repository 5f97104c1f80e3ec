"""Measurements that take longer than tests; each module is a command: `python -m bench.NAME`."""
