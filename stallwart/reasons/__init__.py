"""Statements of reasons: why a listing was blocked, told to its seller (DSA, Article 17)."""
