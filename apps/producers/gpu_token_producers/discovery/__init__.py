"""Finds on a GPU machine what `collect` can read there."""
