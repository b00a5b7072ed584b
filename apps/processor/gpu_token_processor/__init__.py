"""Reads events from Kafka, stores them once in MongoDB, and answers what tokens cost."""

VERSION = "0.1.0"
