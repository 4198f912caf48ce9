"""What is to be learned from a run: from measurements to findings."""
