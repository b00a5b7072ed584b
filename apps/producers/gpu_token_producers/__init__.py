"""Producers: a seeded generator and the replay of LLM request traces."""
