"""How many calls an account may make."""
