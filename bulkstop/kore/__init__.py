"""The vendor's API: requests, responses, what they mean; no other package knows it."""
