"""What the sections of ``report.html`` show, computed from ``report.json`` alone."""
