"""Prompts are versioned files; a missing variable or field is an error, not a blank."""

from __future__ import annotations

import importlib.resources

import pytest

from ruichat.errors import ArtifactError, ConfigError
from ruichat.prompts import load_prompt, parse_prompt

HEAD = "---\nname: p\nversion: 3\nlanguages: [en, zh]\n---\n"


def test_every_shipped_prompt_loads() -> None:
    folder = importlib.resources.files("ruichat") / "assets" / "prompts"
    names = [item.name[:-3] for item in folder.iterdir() if item.name.endswith(".md")]
    assert "facts" in names
    for name in names:
        prompt = load_prompt(name)
        assert prompt.version >= 1
        assert set(prompt.languages) <= {"en", "zh"}


def test_front_matter_names_the_version() -> None:
    prompt = parse_prompt("p", HEAD + "{{ a }} mm2\n")
    assert prompt.label == "p/3"
    assert prompt.languages == ("en", "zh")
    assert prompt.render(a=2) == "2 mm2"


def test_values_are_data() -> None:
    assert parse_prompt("p", HEAD + "{{ a }}").render(a="{{ b }} <i>") == "{{ b }} <i>"


def test_a_missing_variable_is_an_error() -> None:
    with pytest.raises(ConfigError, match="p/3 lacks a variable"):
        parse_prompt("p", HEAD + "{{ a }}").render(b=1)


def test_a_template_reaches_no_internals() -> None:
    from jinja2.exceptions import SecurityError

    prompt = parse_prompt("p", HEAD + "{{ a.__class__.__mro__ }}")
    with pytest.raises((ConfigError, SecurityError)):
        prompt.render(a="x")


@pytest.mark.parametrize(
    "text",
    [
        "no front matter",
        "---\nname: p\n---\nx",
        HEAD.replace("name: p", "name: other"),
        HEAD.replace("version: 3", "version: 3\nextra: 1"),
        "---\n- a\n---\n",
    ],
)
def test_wrong_front_matter_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError):
        parse_prompt("p", text)


def test_an_unknown_prompt_names_the_known() -> None:
    with pytest.raises(ConfigError, match="facts"):
        load_prompt("../secrets")
