"""FILES: never written through another user's link."""
