"""What a load test measures."""
