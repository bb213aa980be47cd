"""Texts as what the model counts. Training and the component use the same, so that they cannot differ."""

import re

WORD = re.compile(r"[a-z0-9']+")


def stem(word: str) -> str:
    """Without the endings that make one word of English into several."""
    for ending in ("'s", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def tokens(text: str) -> list[str]:
    """Stems, and pairs of neighbours."""
    words = [stem(word) for word in WORD.findall(text.lower())]
    return words + [f"{one} {two}" for one, two in zip(words, words[1:])]
