"""`bulkstop schedule`."""
