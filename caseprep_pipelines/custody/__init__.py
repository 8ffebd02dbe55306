"""The hash chain of what happened to a recording, and the walk that verifies it."""
