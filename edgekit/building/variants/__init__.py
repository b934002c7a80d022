"""Makers of networks: the original itself, and what compression makes of it."""
