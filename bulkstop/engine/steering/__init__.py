"""End work early, and hand its results to whoever started it."""
