"""The fault `sources-killed`: kills an engine, its collector and the broker, and counts tokens."""
