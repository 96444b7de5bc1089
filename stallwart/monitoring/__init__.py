"""Watches what is decided and said: online figures, drift, novelty, alerts, and their pages."""
