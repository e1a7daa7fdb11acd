"""The vendor's API: requests and the meaning of responses, known to no other package."""
