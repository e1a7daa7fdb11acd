"""Recipes: each combines source, engine, kore, report into one command."""
