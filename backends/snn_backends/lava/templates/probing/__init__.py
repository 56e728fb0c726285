"""Reading potentials in Lava."""
