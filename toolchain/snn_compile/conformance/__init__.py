"""Conformance vectors: small networks with stimuli and the expected messages of every layer."""
