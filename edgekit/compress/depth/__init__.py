"""Depth: which residual blocks a network can do without, and the network without them."""
