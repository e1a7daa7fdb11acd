"""The limits on how many calls an account may make."""
