"""Large data sets, evaluated and verified by workers."""
