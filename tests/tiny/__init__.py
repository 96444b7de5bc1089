"""Encoders and a market so small that a whole training run takes a second or two."""
