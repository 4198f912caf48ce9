"""State, step, loop and run directory."""
