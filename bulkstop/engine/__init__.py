"""The work: campaigns are drawn within limits, sent, each reported once."""
