"""Fault drills: break something under load, then count what was sent against what was stored."""
