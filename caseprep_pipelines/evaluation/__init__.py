"""Transcripts held against references: word errors, words lost and invented, speakers, and words that decide cases.

Knows files and products, not where recordings come from. What scores words and speakers are jiwer, MeetEval and
pyannote.metrics; nothing here recognizes speech.
"""
