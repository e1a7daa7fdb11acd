"""The words that a person types on a command line."""
