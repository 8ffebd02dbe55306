"""One module per file format that a transcript is exported to."""
