"""Stallwart: open-source enforcement of marketplace policies."""

__version__ = "0.1.0"
