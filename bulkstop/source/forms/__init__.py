"""Readers of rows, one for each form that an input may have."""
