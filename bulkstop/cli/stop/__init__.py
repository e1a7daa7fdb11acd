"""The command `bulkstop stop`."""
