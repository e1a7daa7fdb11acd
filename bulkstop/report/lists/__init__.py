"""The facts read from the service's lists."""
