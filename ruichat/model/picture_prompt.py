"""What a model that looks at pictures is told of a slide: words and pictures in turn."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ruichat.errors import InputError
from ruichat.model.chat_model import SlideContext
from ruichat.model.mentions import find_mentions
from ruichat.model.pictures import Picture, SlidePictures
from ruichat.prompts import Prompt, load_prompt
from ruichat.units import UM2_PER_MM2

_PLACE = re.compile(r"\[\[(\w+)\]\]")
_CJK = re.compile(r"[\u3400-\u9fff]")

MAX_QUESTION_CHARS = 4000
"""Longer text isn't a question about one slide and would crowd the pictures out."""

Part = str | Picture
"""A stretch of the prompt."""


@dataclass(frozen=True)
class _Shown:
    """How a region's picture is announced."""

    name: str
    mpp: float
    width_mm: float
    height_mm: float


def prompt_labels() -> tuple[str, ...]:
    """Prompts and versions that answers of such models record."""
    return load_prompt("pictures").label, load_prompt("pictures-question").label


def slide_parts(slide: SlideContext) -> tuple[Part, ...]:
    """The slide: its overview, each region, what was measured.

    Raises:
        InputError: nothing can be read of the slide but embeddings, or the file is damaged.
    """
    pictures = _pictures(slide)
    overview = pictures.overview()
    regions = [pictures.region(index) for index in range(len(slide.regions))]
    places = {picture.name: picture for picture in (overview, *regions)}
    shown = [_announce(picture, slide) for picture in regions]
    prompt = load_prompt("pictures")
    facts = slide.facts or "nothing"
    text = prompt.render(overview_mpp=overview.mpp, regions=shown, facts=facts)
    return _fill(prompt, text, places)


def question_parts(
    question: str, slide: SlideContext | None, context: str = ""
) -> tuple[Part, ...]:
    """One question, with a closer view of each region that it names.

    Args:
        question: as typed.
        slide: what it is about; None if about none.
        context: what people wrote about the case, quoted line by line.

    Raises:
        InputError: it is empty or too long, or the file is damaged.
    """
    if not question.strip() or len(question) > MAX_QUESTION_CHARS:
        raise InputError(
            f"the question has {len(question)} characters; 1 to {MAX_QUESTION_CHARS} are allowed",
            hint="Ask one short question",
        )
    if slide is None:
        return (question,)
    pictures = _pictures(slide)
    named = dict.fromkeys(m.number - 1 for m in find_mentions(question, len(slide.regions)))
    closer = [pictures.detail(index) for index in list(named)[: pictures.config.max_details]]
    prompt = load_prompt("pictures-question")
    text = prompt.render(
        language="zh" if _CJK.search(question) else "en",
        details=[_announce(picture, slide) for picture in closer],
        has_context=bool(context),
    )
    places: Mapping[str, Part] = {picture.name: picture for picture in closer}
    return _fill(prompt, text, {**places, "question": question, "context": context})


def pictures_in(parts: Sequence[Part]) -> list[Picture]:
    """The pictures, in order."""
    return [part for part in parts if isinstance(part, Picture)]


def map_text(parts: Sequence[Part], change: Callable[[str], str]) -> tuple[Part, ...]:
    """The same parts with changed words."""
    return tuple(change(part) if isinstance(part, str) else part for part in parts)


def _pictures(slide: SlideContext) -> SlidePictures:
    if slide.pictures is None:
        raise InputError(
            "this model looks at pictures of the slide, and only embeddings are given",
            hint="Give the slide file itself; a benchmark without bags asks it blind",
        )
    return slide.pictures


def _announce(picture: Picture, slide: SlideContext) -> _Shown:
    mm = slide.bag.base_mpp / UM2_PER_MM2**0.5
    return _Shown(picture.name, picture.mpp, picture.box0.width * mm, picture.box0.height * mm)


def _fill(prompt: Prompt, text: str, places: Mapping[str, Part]) -> tuple[Part, ...]:
    """Put parts where the prompt names them; what they hold is never read as a place."""
    parts: list[Part] = []
    at = 0
    for match in _PLACE.finditer(text):
        before, part = text[at : match.start()], places[match[1]]
        at = match.end()
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += before + part
        else:
            parts += [before + part] if isinstance(part, str) else [before, part]
    if text[at:].strip():
        parts.append(text[at:])
    return tuple(part for part in parts if not isinstance(part, str) or part.strip())
