"""From a model file to a compiled network: each way in prepares, one way finishes."""
