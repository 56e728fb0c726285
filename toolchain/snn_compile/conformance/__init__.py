"""Conformance vectors: small networks with stimuli and what every layer must send."""
