"""Readers of rows, one for each input format."""
