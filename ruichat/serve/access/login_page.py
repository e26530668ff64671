"""The login page: plain HTML with one small script of ours, nothing fetched from outside."""

from __future__ import annotations

import re
from html import escape
from typing import Literal
from urllib.parse import quote

from starlette.responses import HTMLResponse

from ruichat.serve.access.login_texts import LOGIN_TEXTS
from ruichat.serve.page.files import assets_version
from ruichat.storage.database.models import Language

Trouble = Literal["wrong", "too_many", "not_here", "away", ""]

STATUS: dict[Trouble, int] = {"": 200, "wrong": 401, "too_many": 429, "not_here": 403, "away": 503}

OF_PROVIDER: tuple[Trouble, ...] = ("not_here", "away")
"""Troubles that are told under an address of the provider's, where no password can be sent."""

_OWN_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;background:#f4f5f7;color:#1b1f24;margin:0}"
    "main{max-width:22rem;margin:12vh auto;background:#fff;padding:2rem;border-radius:.5rem;"
    "box-shadow:0 1px 6px #0003}h1{font-size:1.3rem;margin:0 0 1rem}label{display:block;"
    "margin:.8rem 0}input{display:block;width:100%;box-sizing:border-box;font:inherit;"
    "padding:.45rem;border:1px solid #888;border-radius:.25rem}button,.with{display:block;"
    "width:100%;box-sizing:border-box;font:inherit;text-align:center;padding:.5rem;margin-top:1rem;"
    "border:0;border-radius:.25rem;background:#1f5fa8;color:#fff;cursor:pointer;"
    "text-decoration:none}.with{background:#44546a}[role=alert]{color:#a11212}"
    "@media(prefers-color-scheme:dark){body{background:#15181c;color:#e6e6e6}"
    "main{background:#22262c}input{background:#15181c;color:inherit}[role=alert]{color:#ff8f8f}}"
)


def own_path(wanted: str) -> str:
    """Where to go after the login: a path of this server, never another site's address."""
    return wanted if _OWN_PATH.fullmatch(wanted) else "/"


def login_page(
    language: Language, *, next_path: str, has_provider: bool, trouble: Trouble = ""
) -> HTMLResponse:
    """The page.

    Args:
        language: of its words.
        next_path: where to go afterwards.
        has_provider: whether an OpenID Connect provider can be used.
        trouble: what went wrong before.
    """
    words = LOGIN_TEXTS[language]
    other: Language = "zh" if language == "en" else "en"
    to, kept = escape(next_path), quote(next_path, safe="")
    said = f'<p role="alert">{escape(getattr(words, trouble))}</p>' if trouble else ""
    provider = (
        f'<a class="with" href="/login/oidc?next={kept}">{escape(words.with_provider)}</a>'
        if has_provider
        else ""
    )
    # At its own address the form carries a bookmark's part after "#" along without a script too.
    action = ' action="/login"' if trouble in OF_PROVIDER else ""
    page = f"""<!doctype html>
<html lang="{"zh-CN" if language == "zh" else "en"}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(words.title)}</title><style>{_STYLE}</style></head>
<body><main><h1>{escape(words.title)}</h1>{said}
<form method="post"{action}>
<input type="hidden" name="next" value="{to}">
<input type="hidden" name="language" value="{language}">
<label>{escape(words.name)}
<input name="name" autocomplete="username" maxlength="200" required autofocus></label>
<label>{escape(words.password)}
<input name="password" type="password" autocomplete="current-password" maxlength="1024" required>
</label>
<button>{escape(words.enter)}</button></form>{provider}
<p><a href="/login?language={other}&amp;next={kept}" lang="{other}">{escape(words.other)}</a></p>
</main>{_script()}</body></html>
"""
    return HTMLResponse(page, STATUS[trouble])


def onward_page(target: str) -> HTMLResponse:
    """A page that goes on by itself, with the part after "#": that request is our own page's.

    Args:
        target: a path of this server whose query says `next`.
    """
    to = escape(target)
    return HTMLResponse(
        f'<!doctype html><meta charset="utf-8"><title>RuiChat</title>'
        f'<noscript><meta http-equiv="refresh" content="0;url={to}"></noscript>'
        f'<a href="{to}" data-onward>RuiChat</a>{_script()}'
    )


def _script() -> str:
    """It puts the address's part after "#" where `next` is: the server never sees that part."""
    return f'<script src="/assets/web/login.js?v={assets_version()}"></script>'
