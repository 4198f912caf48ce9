"""Random commands in random directories, and what must hold after each: the parts of scripts/fuzz.py."""
