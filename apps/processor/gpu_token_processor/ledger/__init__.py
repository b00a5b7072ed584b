"""The cost ledger: what GPUs cost, and who used them. Rules: docs/cost-model.md."""
