"""The data path: decode, store, dead-letter, commit; each step has one contract."""
