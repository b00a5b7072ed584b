"""HTTP: reads from MongoDB and says how the processor is."""
