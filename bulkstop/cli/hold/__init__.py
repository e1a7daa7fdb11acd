"""The command `bulkstop hold`."""
