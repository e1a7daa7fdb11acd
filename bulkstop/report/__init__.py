"""The results: lines, counts, what a person sees of them."""
