"""The work: bounded workers draw campaigns, send them and report each one once."""
