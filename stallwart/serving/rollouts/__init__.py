"""A rollout in a running service: who decides, what is counted, when it moves, and what people see of it."""
