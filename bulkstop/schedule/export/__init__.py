"""Files for existing schedulers; the same job gives the same bytes."""
