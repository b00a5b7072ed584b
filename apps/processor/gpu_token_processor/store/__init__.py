"""MongoDB: what is written to it, what is read from it, and how it fails."""
