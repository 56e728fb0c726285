"""Readers of model files. Each subpackage is the only one to import its library."""
