"""What the pipeline is made of: which versions are pinned where, and what is newer."""
