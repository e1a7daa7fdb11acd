"""The recipe of `hold`: look at the list again and again, and stop what runs."""
