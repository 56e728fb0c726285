"""Backends of snn-compile: each writes a compiled network in the form of another system."""
