"""The recipe of `hold`: looks in turn, each with its stops."""
