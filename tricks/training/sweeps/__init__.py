"""Many runs of one config at once: settings and seeds are lanes of one compiled program."""
