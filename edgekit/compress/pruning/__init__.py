"""Structured pruning: groups of channels that go together, which of them matter, how narrow, and is it still sound."""
