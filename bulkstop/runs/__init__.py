"""Recipes: each plugs source, engine, kore and report together into one command."""
