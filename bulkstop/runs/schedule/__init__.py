"""A firing of a schedule."""
