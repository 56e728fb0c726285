"""From a trained network to a spiking one: one pass per file."""
