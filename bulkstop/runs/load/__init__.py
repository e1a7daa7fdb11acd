"""The recipe of `load`: requests on a schedule, measured, judged."""
