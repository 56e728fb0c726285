"""The smallest network on which a fault still shows."""
