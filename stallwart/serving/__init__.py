"""A listing -> a decision, stored before it is answered, under a deadline."""
