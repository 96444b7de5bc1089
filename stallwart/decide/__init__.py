"""Scores and thresholds -> what to do. Pure: no files, no clock, no model."""
