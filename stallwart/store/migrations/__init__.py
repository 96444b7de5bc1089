"""The steps that bring a database to `tables.py`; run by `stallwart db upgrade`."""
