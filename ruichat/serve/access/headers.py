"""What browsers are told to keep to, on every answer."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders

from ruichat.serve.settings import ServeSettings

POLICY: dict[str, str] = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'self'",
    "frame-ancestors": "'none'",
}
"""Content-Security-Policy by directive: nothing from outside, no script written into a page."""

STRICT_TRANSPORT = "max-age=31536000"


def content_policy(**changed: str) -> str:
    """The policy as a header's value.

    Args:
        changed: other values by directive, with underscores for dashes.
    """
    values = POLICY | {name.replace("_", "-"): value for name, value in changed.items()}
    return "; ".join(f"{name} {value}" for name, value in values.items())


def protect(headers: MutableHeaders, settings: ServeSettings) -> None:
    """Add what every answer carries; an answer's own policy and caching stay."""
    headers.setdefault("Content-Security-Policy", content_policy())
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    # Not "no-referrer": with it a browser's form says "Origin: null", and no login would be let in.
    headers["Referrer-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers.setdefault("Cache-Control", "no-store")
    if settings.secure_cookies:
        headers["Strict-Transport-Security"] = STRICT_TRANSPORT
