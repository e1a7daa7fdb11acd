"""The pace of calls, learnt from the service's responses."""
