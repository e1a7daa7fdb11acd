"""What is told of a campaign beside its state."""
