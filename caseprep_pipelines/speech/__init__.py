"""What was said and by whom: speech detection, transcription, diarization; knows nothing of storage."""
