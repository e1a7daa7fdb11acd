"""Recipes that read the service's lists: `discover`, `verify`."""
