"""Whether a plain image may be stained tissue, by its first bytes alone; nothing is decoded."""

from __future__ import annotations

from pathlib import Path

HEADER_BYTES = 1 << 17
"""Room for the profiles and previews that cameras put before a JPEG's size."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR = (2, 6)
"""Colour types RGB and RGBA (PNG 1.2, 4.1.1); masks are grey or have a palette."""

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers that begin a frame (ITU T.81, table B.1)."""

SUFFIXES = (".png", ".jpg", ".jpeg")


def is_colour_picture(path: Path) -> bool:
    """Whether a PNG or JPEG holds colour.

    Masks and labels that other programs write beside a slide don't, and neither does a file that
    only bears such a suffix, nor one that can't be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
    except OSError:
        return False
    if head.startswith(_PNG):
        return head[12:16] == b"IHDR" and len(head) > 25 and head[25] in _PNG_COLOUR
    return head.startswith(b"\xff\xd8") and _jpeg_components(head) >= 3


def png_size(head: bytes) -> tuple[int, int]:
    """Width and height of a PNG by its first bytes; zeros for any other file."""
    if not head.startswith(_PNG) or head[12:16] != b"IHDR" or len(head) < 24:
        return 0, 0
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _jpeg_components(head: bytes) -> int:
    """Colour components of the frame; 0 where none begins within the header."""
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif marker in _JPEG_FRAMES:
            return head[at + 9] if at + 9 < len(head) else 0
        else:
            at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return 0
