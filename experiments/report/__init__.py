"""The page of results, made wholly of recorded runs."""
