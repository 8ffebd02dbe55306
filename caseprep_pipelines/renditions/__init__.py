"""One module per file format that a transcript is exported to; `formats` lists them and writes the files.

A rendition is made from finished documents alone: no audio, no model, no clock, so equal documents give equal bytes.
What a format cannot hold stays in the canonical JSON. Choosing formats belongs to settings, where files go to storage.
"""
