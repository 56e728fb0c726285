"""Compilation pipeline: preparation by kind of model, one common second half."""
