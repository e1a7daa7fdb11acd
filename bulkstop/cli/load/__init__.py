"""The command `bulkstop load`."""
