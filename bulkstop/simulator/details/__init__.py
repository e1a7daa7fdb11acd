"""Details of campaigns besides their state."""
