"""What whoever starts the work has to do with it: its early end, its results."""
