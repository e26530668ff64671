"""Formats that come as packages of their own, and what a user without one is told."""

from __future__ import annotations

from pathlib import Path

from ruichat.errors import PrerequisiteError

PLUGIN_FORMATS = {
    ".kfb": "KFB (KFBIO)",
    ".sdpc": "SDPC (Sqray)",
    ".tmap": "TMAP (Unic)",
    ".isyntax": "iSyntax (Philips)",
    ".zvi": "ZVI (Zeiss)",
}
"""Suffix and name of formats whose readers can't be part of RuiChat."""


def missing_plugin(path: Path) -> PrerequisiteError | None:
    """What is missing to open a file of such a format; None for other files."""
    kind = PLUGIN_FORMATS.get(path.suffix.lower())
    if kind is None:
        return None
    return PrerequisiteError(
        f"{path.name} is a slide of the format {kind}, which needs a plug-in that isn't installed",
        hint=f"Install a package that reads {path.suffix.lower()} and offers it under the entry "
        "point ruichat.readers (docs/reader-plugin.md says how to write one), or export the slide "
        "as DICOM or OME-TIFF",
    )
