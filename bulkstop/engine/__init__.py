"""The work: bounded workers draw campaigns, send them, report each one once."""
