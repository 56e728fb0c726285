"""Neuron models in fixed point: one file each, and the registry that lists them."""
