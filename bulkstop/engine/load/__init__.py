"""When the requests of a load test leave, at which rate."""
