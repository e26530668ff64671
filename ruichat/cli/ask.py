"""`ruichat ask`: one question, or a chat in the terminal."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ruichat.cli import model_choice as choice

if TYPE_CHECKING:
    from ruichat.chat.answer import Answer
    from ruichat.chat.ask import AskConfig, SlideChat
    from ruichat.cli.terminal import Terminal

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class LanguageChoice(StrEnum):
    """Language of messages and labels; the model itself follows the question."""

    auto = "auto"
    en = "en"
    zh = "zh"


@app.command()
def ask(
    slide: Annotated[
        Path, typer.Argument(metavar="SLIDE", help="Slide, DICOM folder, or PNG/JPEG/TIFF region.")
    ],
    question: Annotated[
        str | None,
        typer.Argument(metavar="QUESTION", help="In English or Chinese; without it, a chat."),
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

    Without a question, a chat in the terminal: the slide is read once.
    """
    from ruichat.chat.ask import AskConfig
    from ruichat.chat.output import check_folder
    from ruichat.chat.question import clean_question
    from ruichat.cli.terminal import Terminal

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
    if overlay:
        check_folder(out)
    terminal = Terminal(language=config.language, quiet=quiet or as_json)
    with _open(slide, config, terminal) as chat:
        terminal.warn_of_sending(chat.sends_to)
        if question is None:
            terminal.chat(chat, slide, out)
        else:
            answer = _answer(chat, question, terminal, show=not as_json)
            try:
                if overlay:
                    answer = terminal.write_files(chat, answer, slide, out)
            finally:  # files that can't be written don't cost the answer
                if as_json:
                    json.dump(answer.to_json(), sys.stdout, ensure_ascii=False, indent=2)
                    sys.stdout.write("\n")


def _open(slide: Path, config: AskConfig, terminal: Terminal) -> SlideChat:
    from ruichat.chat.ask import open_chat

    with terminal.progress() as progress:
        return open_chat(slide, config, progress=progress)


def _answer(chat: SlideChat, question: str, terminal: Terminal, *, show: bool) -> Answer:
    answer = terminal.stream(chat.ask(question)) if show else terminal.collect(chat.ask(question))
    if show:
        terminal.show_verdict(answer)
    return answer
