"""FILES: never written where another user's link leads."""
