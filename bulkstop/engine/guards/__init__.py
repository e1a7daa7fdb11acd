"""The guards, which slow a run or end it."""
