"""What a run that stops campaigns leaves behind."""
