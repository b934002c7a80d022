"""Sensitivity: how far a network's outputs move when one group is narrowed, one block dropped, one layer quantized."""
