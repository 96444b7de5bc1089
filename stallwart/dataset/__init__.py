"""Raw files -> checked listings and labels -> near duplicates -> train | validation | test, by time."""
