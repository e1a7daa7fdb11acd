"""What was read of the service's lists."""
