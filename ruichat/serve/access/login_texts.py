"""Words of the login page."""

from __future__ import annotations

from dataclasses import dataclass

from ruichat.storage.database.models import Language


@dataclass(frozen=True)
class LoginTexts:
    """What the page says in one language."""

    title: str
    name: str
    password: str
    enter: str
    with_provider: str
    wrong: str
    too_many: str
    not_here: str
    away: str
    other: str
    """Name of the other language, in that language."""


LOGIN_TEXTS: dict[Language, LoginTexts] = {
    "en": LoginTexts(
        title="Log in to RuiChat",
        name="Name",
        password="Password",
        enter="Log in",
        with_provider="Log in with your hospital's account",
        wrong="Name or password is wrong.",
        too_many="Too many wrong attempts. Wait a quarter of an hour, then try again.",
        not_here="Your hospital's account was not accepted. Ask your administrator.",
        away="Your hospital's login service is away. Try again; if it stays so, tell your "
        "administrator.",
        other="中文",
    ),
    "zh": LoginTexts(
        title="登录 RuiChat",
        name="用户名",
        password="密码",
        enter="登录",
        with_provider="使用医院账号登录",
        wrong="用户名或密码不正确。",
        too_many="错误次数过多。请等待十五分钟后再试。",
        not_here="医院账号未被接受。请联系管理员。",
        away="医院登录服务暂时没有响应。请重试；如仍无法登录，请联系管理员。",
        other="English",
    ),
}
"""By language."""
