"""What a media file holds and how it becomes 16 kHz FLAC; knows nothing of speech."""
