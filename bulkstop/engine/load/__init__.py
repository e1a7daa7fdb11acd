"""The requests of a load test: when they are sent, at which rate."""
