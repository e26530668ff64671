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
    commands = re.findall(r"^\$ ruichat(?:-admin)? (\w+)", "\n".join(blocks(guide)), re.MULTILINE)
    assert commands and set(commands) <= set(COMMANDS)


@pytest.mark.parametrize("guide", GUIDES)
def test_the_service_and_its_operator_work_on_one_database(guide):
    text = (DOCS / guide).read_text("utf-8")
    service = text[text.index("/etc/systemd/system/ruichat.service") :]
    assert not re.search(r"^\$ ruichat (users|database)\b", service, re.MULTILINE)
    assert re.search(r"^\$ useradd .* ruichat$", text, re.MULTILINE)
    unit, script = re.findall(r"```(?:ini|sh)\n(.*?)```", service, re.DOTALL)[:2]
    for said in ("EnvironmentFile=/etc/ruichat.env", "UMask=0077", "StateDirectory=ruichat"):
        assert said in unit and said in script
    assert "User=ruichat" in unit and "--uid=ruichat" in script
    assert not re.search(r"^Environment=", unit, re.MULTILINE), "the script wouldn't see it"
    assert "\nRUICHAT_SERVE_DATA_DIR=" in text[: text.index(unit)]
