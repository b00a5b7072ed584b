"""Rows for finance, and months that are closed."""
