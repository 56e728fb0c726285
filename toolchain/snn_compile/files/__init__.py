"""Files: read as if a stranger had written them, written whole or not at all."""
