"""The canonical transcript document and the rules by which it is put together."""
