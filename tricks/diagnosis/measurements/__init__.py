"""What is measured of a run and of its data: pure functions that return plain dicts, ready for JSON."""
