"""The tool that the agents made of libraries have."""

from pathlib import Path


def edit_file(path: str, old: str, new: str) -> str:
    """Replace a text in a file."""
    file = Path(path)
    file.write_text(file.read_text().replace(old, new))
    return "The file has been changed."
