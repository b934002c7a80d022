"""Quantization-aware training: a network's own graph with a runtime's integers simulated, trained and written back."""
