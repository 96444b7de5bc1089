"""Labelled listings -> a bundle (torch; `train` extra)."""
