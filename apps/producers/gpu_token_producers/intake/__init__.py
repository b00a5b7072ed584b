"""What gateways and applications send by HTTP, as token usage."""
