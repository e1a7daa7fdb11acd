"""Computes when schedules fire, by pure calendar arithmetic."""
