"""`python -m gpu_token_producers`."""

from gpu_token_producers.cli import app

app(prog_name="python -m gpu_token_producers")
