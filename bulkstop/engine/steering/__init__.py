"""The controls of a run for its caller: its early end, its results."""
