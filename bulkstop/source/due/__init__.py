"""By when campaigns are to be stopped: the ends of their local days."""
