"""CasePrep Pipelines: recordings in, speaker-attributed transcripts out.

Nothing is imported here: `caseprep --help` and the Dagster code location start quickly because each part
is imported where it is used.
"""

__version__ = "0.1.0"
