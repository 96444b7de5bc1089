"""One file for each step; none is changed after a release."""
