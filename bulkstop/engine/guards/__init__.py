"""What holds a run back, or ends it."""
