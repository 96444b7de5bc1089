"""Scores and labels -> figures with intervals, slices, comparisons and the report."""
