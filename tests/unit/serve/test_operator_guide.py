"""The operator's guide names every setting, with the default that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ruichat.cli.main import COMMANDS
from ruichat.serve.settings import ServeSettings

DOCS = Path(__file__).parents[3] / "docs"
GUIDES = ["operator.md", "operator.zh.md"]


def rows(text: str) -> dict[str, str]:
    """Default by setting, as the guide's table gives them."""
    found = re.findall(r"^\| `([A-Z_]+)` \| (.*?) ?\| .+ \|$", text, re.MULTILINE)
    return {name.lower(): default.strip("`") for name, default in found}


@pytest.mark.parametrize("guide", GUIDES)
def test_settings_and_defaults_are_the_servers(guide):
    listed = rows((DOCS / guide).read_text("utf-8"))
    assert list(listed) != [] and set(listed) == set(ServeSettings.model_fields)
    settings = ServeSettings()
    for name, default in listed.items():
        value = getattr(settings, name)
        if name == "data_dir":
            continue  # differs between machines
        value = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        wanted = "" if value in (None, "", ()) else str(value).replace("False", "false")
        assert default == wanted, name


@pytest.mark.parametrize("guide", GUIDES)
def test_both_guides_show_the_same_commands_and_files(guide):
    def blocks(name: str) -> list[str]:
        found = re.findall(r"```\w+\n(.*?)```", (DOCS / name).read_text("utf-8"), re.DOTALL)
        # Comments are in the guide's language.
        return [re.sub(r"[ ]*#.*", "", block) for block in found]

    assert blocks(guide) == blocks(GUIDES[0])
    commands = re.findall(r"^\$ ruichat (\w+)", "\n".join(blocks(guide)), re.MULTILINE)
    assert commands and set(commands) <= set(COMMANDS)
