"""Words as what was said and what was heard are compared: without capitals and punctuation. Nothing that scores."""


def bare(text: str) -> str:
    """The same words, letters and digits alone; a word with neither is none."""
    words = ("".join(letter for letter in word.casefold() if letter.isalnum()) for word in text.split())
    return " ".join(word for word in words if word)
