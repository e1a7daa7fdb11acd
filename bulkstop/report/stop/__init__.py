"""The records of a run that stops campaigns."""
