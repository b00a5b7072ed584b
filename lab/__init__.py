"""The lab: a local EC2 made of systemd containers, so that the fleet runs on one computer."""
