"""Benchmarks: the processor compared with its peers, in one run (`make bench`, docs/performance.md)."""
