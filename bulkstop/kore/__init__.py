"""The vendor's API: what to send, what an answer means; nobody else knows it."""
