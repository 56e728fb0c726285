"""Calibration and evaluation data: arrays, recorded events, spike trains."""
