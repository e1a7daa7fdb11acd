"""The calls of the API on bare connections, at a fraction of a client's cost."""
