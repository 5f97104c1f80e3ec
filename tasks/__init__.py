"""What is measured: one folder a benchmark, found through the entry points of the distribution."""
