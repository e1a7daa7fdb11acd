"""How a connection comes about, for every transport."""
