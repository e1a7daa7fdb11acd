"""Files for the schedulers that people run: the same job gives the same bytes."""
