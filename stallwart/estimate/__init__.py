"""Bounds, certificates, live weights and bootstrap draws: numbers in, numbers out."""
