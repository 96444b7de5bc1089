"""Stored traffic through a bundle again, by the path that served: what would change, and what to hunt."""
