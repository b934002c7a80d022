"""Sparse weights: which are zero, by a pattern and what they are worth, and the training that goes on without them."""
