"""The SQL that people query: registry, transcripts, utterances, rejections, full text."""
