"""From the spiking network in floating point to fixed point."""
