"""Budgets: what a month has cost, what it will, and who is told."""
