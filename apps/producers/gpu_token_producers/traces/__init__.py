"""Public traces of requests, for `replay`. docs/traces.md says what each becomes."""
