"""Benchmarks: figures beside peers and floors, in one run. Nothing here is asserted."""
