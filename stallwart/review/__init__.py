"""Decisions that wait for a person, and what the person says: pages and the acts behind them."""
