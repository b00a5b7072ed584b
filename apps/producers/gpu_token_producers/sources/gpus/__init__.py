"""Readings of GPUs from what already watches them."""
