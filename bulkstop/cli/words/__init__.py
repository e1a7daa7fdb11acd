"""The words that a person types: how options are named in messages, and what a shell completes."""
