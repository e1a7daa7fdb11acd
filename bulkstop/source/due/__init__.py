"""The times by which campaigns are to be stopped: the ends of their local days."""
