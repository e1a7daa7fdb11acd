"""The measurements of a load test."""
