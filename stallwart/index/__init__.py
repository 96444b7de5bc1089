"""Nearest listings and known violations."""
