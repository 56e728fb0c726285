"""Moving data into and out of the network in Lava."""
