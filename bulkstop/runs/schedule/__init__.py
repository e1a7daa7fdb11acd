"""Runs a firing of a schedule."""
