"""What tests, benchmark and drill share: servers as processes of this computer, and what they need."""
