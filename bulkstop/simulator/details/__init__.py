"""What campaigns have beside their state."""
