"""The demo models and demo recordings: synthetic speech in a small closed language, and what is trained on it."""
