"""The results: lines, counts, and what a person sees of them."""
