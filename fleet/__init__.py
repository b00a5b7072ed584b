"""The model of fleet.yml, the one truth about the fleet."""
