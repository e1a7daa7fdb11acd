"""The work: campaigns are drawn within limits, sent, and each reported once."""
