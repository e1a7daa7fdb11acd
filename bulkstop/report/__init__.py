"""Results out: lines, counts, what a person sees of them."""
