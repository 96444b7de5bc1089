"""Bounds, certificates, weighted figures and their intervals: numbers in, numbers out."""
