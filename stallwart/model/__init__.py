"""The bundle and its runtime: listings -> scores and their evidence, without torch."""
