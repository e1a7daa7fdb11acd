"""The vendor's API: what to send and what an answer means; nobody else knows it."""
