"""A diagnosis for people: a page and a short form for the terminal, from the content of report.json alone."""
