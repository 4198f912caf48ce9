"""What every command shares: flags, one-line errors, exit status, printing, JSON files, compiled programs."""
