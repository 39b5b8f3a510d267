"""Texts of a largest size, for messages and journals."""

from __future__ import annotations

#: Largest number of characters of an error, or of another text of an evaluation.
MAX_CHARACTERS = 20_000
#: More than the note in the place of what is left out.
_NOTE_CHARACTERS = 50


def shortened(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Leaves out the middle of a text that is longer than ``limit`` (at least 100) characters, and says how much."""
    if len(text) <= limit:
        return text
    half = (limit - _NOTE_CHARACTERS) // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
