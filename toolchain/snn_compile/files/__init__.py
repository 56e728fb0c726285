"""Files: untrusted input, atomic output."""
