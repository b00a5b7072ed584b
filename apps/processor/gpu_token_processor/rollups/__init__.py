"""Hours that are counted once and kept, so that an answer over months reads few events."""
