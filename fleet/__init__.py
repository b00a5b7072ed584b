"""The model of fleet.yml, which describes the fleet."""
