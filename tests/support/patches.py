"""The form of patches that coding agents have models write, as a Lark grammar of the kind that they send."""

from __future__ import annotations

import regex

PATCH = """start: open file+ close
open: "*** Begin Patch" LF
close: "*** End Patch" LF?

file: added | removed | changed
added: "*** Add File: " path LF new_line+
removed: "*** Delete File: " path LF
changed: "*** Update File: " path LF moved? edits?

path: /(.+)/
new_line: "+" /(.*)/ LF -> line
moved: "*** Move to: " path LF
edits: (place | edit)+ end_of_file?  // at least one
place: ("@@" | "@@ " /(.+)/) LF
edit: ("+" | "-" | " ") /(.*)/ LF
end_of_file: "*** End of File" LF

%import common.LF
"""
_FILE = (
    r"\*\*\* (Delete File: .+\n|Add File: .+\n(\+.*\n)+"
    r"|Update File: .+\n(\*\*\* Move to: .+\n)?(((@@( .+)?|[+ -].*)\n)+(\*\*\* End of File\n)?)?)"
)
_IS_PATCH = regex.compile(rf"\*\*\* Begin Patch\n({_FILE})+\*\*\* End Patch\n?")


def is_patch(text: str) -> bool:
    """Return whether a text is a patch, by another way than the grammar."""
    return _IS_PATCH.fullmatch(text, timeout=10) is not None
