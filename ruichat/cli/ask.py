"""`ruichat ask`: one question, or a chat in the terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ruichat.cli import model_choice as choice

if TYPE_CHECKING:
    from ruichat.chat.answer import Answer
    from ruichat.chat.ask import AskConfig, SlideChat
    from ruichat.chat.case_answer import CaseAnswer
    from ruichat.chat.outline import Outline0
    from ruichat.cli.terminal import Terminal

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class LanguageChoice(StrEnum):
    """Language of messages and labels; the model itself follows the question."""

    auto = "auto"
    en = "en"
    zh = "zh"


@app.command()
def ask(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="SLIDE... [QUESTION]",
            help="Slide, DICOM folder, or PNG/JPEG/TIFF region, or several of a case; then the "
            "question, in English or Chinese. Without it, a chat about one slide.",
        ),
    ],
    region: Annotated[
        str | None,
        typer.Option("--region", metavar="X,Y,W,H", help="Ask about this box, level-0 pixels."),
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option("--mpp", help="Micrometres per pixel, where the file doesn't state it."),
    ] = None,
    icc: Annotated[
        bool, typer.Option("--icc", help="Convert colours to sRGB by the slide's ICC profile.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole answer as JSON.")
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for overlay and GeoJSON.")
    ] = Path("."),
    model: Annotated[str, typer.Option("--model", help=choice.HELP)] = "mini",
    overlay: Annotated[
        bool, typer.Option("--overlay/--no-overlay", help="Write overlay and GeoJSON.")
    ] = True,
    lang: Annotated[
        LanguageChoice, typer.Option("--lang", help="Language of messages and labels.")
    ] = LanguageChoice.auto,
    think: Annotated[
        bool, typer.Option("--think", help="Let the model think before it answers.")
    ] = False,
    show_thinking: Annotated[
        bool, typer.Option("--show-thinking", help="Think, and show the unchecked thought.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the answer and nothing else.")
    ] = False,
    base_url: choice.BaseUrl = None,
    allow_remote: choice.AllowRemote = False,
    trust_remote_code: choice.TrustRemoteCode = False,
    device: choice.Device = "auto",
    dtype: choice.Dtype = choice.DtypeChoice.auto,
    regions: choice.NumRegions = None,
    timeout: choice.Timeout = None,
) -> None:
    """Ask a slide a question; the answer names the regions it rests on.

    Without a question, a chat in the terminal: the slide is read once. Several slides answer
    each for itself; the rule that brings them together is part of the answer.
    """
    from ruichat.chat.ask import AskConfig
    from ruichat.chat.output import check_folder
    from ruichat.chat.question import clean_question
    from ruichat.cli.terminal import Terminal

    slides, question = _split(given)
    outline = None if region is None else _outline(region)
    config = AskConfig(
        model=model,
        options=choice.model_options(
            base_url=base_url,
            allow_remote=allow_remote,
            trust_remote_code=trust_remote_code,
            device=device,
            dtype=dtype,
            regions=regions,
            timeout=timeout,
        ),
        mpp=mpp,
        icc=icc,
        language=None if lang is LanguageChoice.auto else lang.value,
        think=think or show_thinking,
        show_thinking=show_thinking,
    )
    if question is not None:
        clean_question(question, max_chars=config.max_question_chars)
    elif as_json:
        raise typer.BadParameter("--json needs a question")
    if len(slides) > 1 and (question is None or outline is not None):
        raise typer.BadParameter("a chat and --region are about one slide")
    if overlay:
        check_folder(out)
    terminal = Terminal(language=config.language, quiet=quiet or as_json)
    with ExitStack() as stack:
        chats = {path: stack.enter_context(chat) for path, chat in _open(slides, config, terminal)}
        whole = chats[slides[0]]
        chat = whole if outline is None else whole.within(outline)
        terminal.warn_of_sending(chat.sends_to)
        if question is None:
            terminal.chat(chat, slides[0], out)
            return
        shown = chats if len(chats) > 1 else {slides[0]: chat}
        answer = _answer(shown, question, terminal, show=not as_json)
        try:
            if overlay:
                answer = terminal.write_all(shown, answer, out)
        finally:  # files that can't be written don't cost the answer
            if as_json:
                json.dump(answer.to_json(), sys.stdout, ensure_ascii=False, indent=2)
                sys.stdout.write("\n")


def _split(given: list[str]) -> tuple[list[Path], str | None]:
    """Slides, and the question if the last word is one: neither a path nor named like a slide."""
    from ruichat.slide.opening import slide_suffixes

    last = Path(given[-1])
    is_named = " " not in given[-1] and last.suffix.lower() in slide_suffixes()
    if len(given) == 1 or is_named or os.path.exists(given[-1]):
        return _distinct(given), None
    return _distinct(given[:-1]), given[-1]


def _distinct(names: list[str]) -> list[Path]:
    if len(set(names)) < len(names):
        raise typer.BadParameter("a slide is named twice")
    return [Path(name) for name in names]


def _outline(region: str) -> Outline0:
    from ruichat.chat.outline import Outline0
    from ruichat.units import Region0

    try:
        x, y, width, height = (int(number) for number in region.split(","))
    except ValueError:
        message = (
            f"{region!r} is no box; give X,Y,W,H in level-0 pixels: --region 1200,800,2000,1500"
        )
        raise typer.BadParameter(message) from None
    return Outline0.rectangle(Region0(x, y, width, height))


def _open(
    slides: list[Path], config: AskConfig, terminal: Terminal
) -> Iterator[tuple[Path, SlideChat]]:
    from ruichat.chat.ask import load_backend, open_chat

    # One model for several slides; a single one is opened first, as it may turn out to be none.
    backend = load_backend(config.model, config.options) if len(slides) > 1 else None
    for slide in slides:
        with terminal.progress() as progress:
            chat = open_chat(slide, config, backend=backend, progress=progress)
        yield slide, chat


def _answer(
    chats: Mapping[Path, SlideChat], question: str, terminal: Terminal, *, show: bool
) -> Answer | CaseAnswer:
    from ruichat.chat.case_answer import ask_case

    take = terminal.stream if show else terminal.collect
    if len(chats) == 1:
        (chat,) = chats.values()
        answer: Answer | CaseAnswer = take(chat.ask(question))
    else:
        named = {str(path): chat for path, chat in chats.items()}
        answer = take(ask_case(named, question, language=terminal.fixed_language))
    if show:
        terminal.show_verdict(answer)
    return answer
