"""The words of the project as types: listings, labels, policies, scores, errors, settings."""
