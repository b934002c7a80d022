"""Weights as products of smaller ones: which layers, which ranks, and the network that they make."""
