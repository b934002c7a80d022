"""The build: the only part that knows every stage. Workers start here, so nothing is imported."""
