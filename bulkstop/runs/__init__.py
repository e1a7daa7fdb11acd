"""Recipes: each plugs source, engine, kore, report together into one command."""
