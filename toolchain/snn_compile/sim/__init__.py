"""Execution: float networks, and the bit-accurate reference."""
