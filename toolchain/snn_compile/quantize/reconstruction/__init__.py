"""Reconstruction: integers of a block learned so that its output is that of the float network."""
