"""Which names in a model's YAML are paths, and that none of them leads out of the models folder.

Only what the YAML says counts: a link that somebody has put into the folder may lead anywhere.
"""

from __future__ import annotations

from pathlib import PurePosixPath

PATH_KEYS = (
    *("parameters.model", "mmproj", "draft_model", "lora_adapter", "lora_adapters[]", "download_files[].filename"),
)
"""Keys that name files, as general paths; those of `template:` are names of files only where they are no templates."""
LEADS_OUT = "leads out of the models folder ({name}); move the file into it and name it by its relative path"


def leads_out(name: str) -> bool:
    """Return whether a name is more than a path downwards; `a/../b` is too, as `a` may be a link to anywhere."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\0" in name
