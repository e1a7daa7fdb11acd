"""The recipe of `stop`: a list becomes a plan, the plan becomes result lines."""
