"""What networks are calibrated and evaluated with: arrays, recorded events, spike trains."""
