"""Who decides which edit is better, and what it takes to ask."""
