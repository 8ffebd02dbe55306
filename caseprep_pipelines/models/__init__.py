"""Model directories: what they must hold, their digests, how they are fetched, and the shipped demo models."""
