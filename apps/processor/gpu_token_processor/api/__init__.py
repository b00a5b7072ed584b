"""HTTP: answers from MongoDB, and the processor's health."""
