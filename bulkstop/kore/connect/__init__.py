"""The making of a connection, for every transport."""
