"""The details of a campaign beside its state."""
