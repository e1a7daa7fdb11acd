"""How whoever starts the work ends it early, and takes its results."""
