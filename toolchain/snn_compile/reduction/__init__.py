"""Reduction of a network to the smallest one that still shows a fault."""
