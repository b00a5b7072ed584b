"""Benchmarks: this project's processor beside its peers, in one run (`make bench`, docs/performance.md)."""
