"""Answers and chats in a terminal: streamed words, verdicts, commands."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from ruichat.chat.answer import AI_LABEL, Answer, Thought
from ruichat.chat.case_answer import CaseAnswer, SlideAnswer
from ruichat.chat.facts import percent
from ruichat.chat.plain import strip_controls
from ruichat.chat.texts import CLASS_WORDS, alternatives_line, slide_heading
from ruichat.cli.progress import stage_bar
from ruichat.cli.texts import Key, say, terminal_language
from ruichat.errors import RuiChatError
from ruichat.histology import BY_KEY, Language

if TYPE_CHECKING:
    from ruichat.chat.ask import Progress, SlideChat

A = TypeVar("A", Answer, CaseAnswer, Answer | CaseAnswer)

MAX_SHOWN = 0.99
"""Highest confidence printed: no answer is certain."""

_STAGES: dict[str, Key] = {
    "slide": "stage_slide",
    "model": "stage_model",
    "features": "stage_features",
    "facts": "stage_facts",
    "prompt": "stage_prompt",
}


_THINKING: dict[str, Key] = {
    "on": "thinking_on",
    "off": "thinking_off",
    "show": "thinking_shown",
}


class Terminal:
    """Prints answers to stdout and everything else to stderr.

    Args:
        language: of messages; None follows each answer, and the locale before the first.
        quiet: print answers, their class and their AI label, nothing else.
    """

    def __init__(self, *, language: Language | None = None, quiet: bool = False) -> None:
        self._fixed: Language | None = language
        self._current: Language = language or terminal_language()
        self._quiet = quiet
        self._warned: set[str] = set()

    @property
    def language(self) -> Language:
        """Language of the next message."""
        return self._fixed or self._current

    @contextmanager
    def progress(self) -> Generator[Progress | None]:
        """A callback that draws stages and tiles on stderr, None where nobody would see it."""
        if self._quiet or not sys.stderr.isatty():
            yield None
            return
        with stage_bar(lambda stage: say(_STAGES[stage], self.language)) as show:
            yield show

    @property
    def fixed_language(self) -> Language | None:
        """Of messages, if it was chosen."""
        return self._fixed

    def stream(self, events: Iterator[str | Thought | A]) -> A:
        """Print words as they come; returns the answer."""
        for event in events:
            if isinstance(event, Answer | CaseAnswer):
                typer.echo()
                self._current = event.language
                return event
            if isinstance(event, Thought):
                thought = f"{say('thought', self.language)}: {strip_controls(event.text)}"
                typer.secho(thought, dim=True)
                continue
            typer.echo(strip_controls(event), nl=False)
            sys.stdout.flush()
        raise AssertionError("an answer ends with an Answer")

    def collect(self, events: Iterator[str | Thought | A]) -> A:
        """The answer alone, printing nothing."""
        for event in events:
            if isinstance(event, Answer | CaseAnswer):
                self._current = event.language
                return event
        raise AssertionError("an answer ends with an Answer")

    def show_verdict(self, answer: Answer | CaseAnswer) -> None:
        """Class, confidence, AI label, and what a reader must doubt; of each slide."""
        if isinstance(answer, CaseAnswer):
            for part in answer.parts:
                typer.secho(f"{slide_heading(part.letter, self.language)}{part.slide}", dim=True)
                self.show_verdict(part.answer)
            return
        language = self.language
        for claim in answer.claims:
            if not claim.grounded:
                mark = f"[!] {say('ungrounded', language)}: {strip_controls(claim.text)}"
                typer.secho(mark, fg="yellow")
        if answer.was_cut:
            typer.secho(f"[!] {say('cut', language)}", fg="yellow")
        if answer.diagnosis_class is None:
            if answer.reason is None:
                typer.secho(AI_LABEL[language], dim=True)
            return
        words = CLASS_WORDS[language][answer.diagnosis_class]
        line = f"{say('class', language)} {answer.diagnosis_class} ({words})"
        if answer.confidence is not None and not answer.abstained:
            line += f", {say('confidence', language)} {min(answer.confidence, MAX_SHOWN):.0%}"
        typer.secho(line, dim=True)
        if answer.alternatives and not answer.abstained:
            cited = bool(answer.citations)
            place = "slide" if answer.drawn is None else "region"
            line = alternatives_line(answer.alternatives, language, cited=cited, place=place)
            typer.secho(line, dim=True)
        typer.secho(AI_LABEL[language], dim=True)
        if self._quiet:
            return
        for error in answer.errors:
            self.note(f"{say('removed', language)}: {error}")
        for warning in answer.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self.note(f"{say('warning', language)}: {warning}")

    def warn_of_sending(self, address: str) -> None:
        """Say, before any question, that pictures leave this machine, if they do."""
        if not address:
            return
        self.note(say("sends", self.language).format(to=address))
        if not address.startswith("https://"):
            self.note(say("unencrypted", self.language))

    def note(self, text: str) -> None:
        """A line on stderr that isn't part of the answer."""
        typer.secho(strip_controls(text), fg="yellow", err=True)

    def write_all(
        self, chats: Mapping[Path, SlideChat], answer: Answer | CaseAnswer, folder: Path
    ) -> Answer | CaseAnswer:
        """Write the files of each slide that answered; returns the answer with their paths."""
        if isinstance(answer, Answer):
            ((slide, chat),) = chats.items()
            return self.write_files(chat, answer, slide, folder)
        paths = {str(path): path for path in chats}
        parts: list[SlideAnswer] = []
        for part in answer.parts:
            slide = paths[part.slide]
            written = self.write_files(chats[slide], part.answer, slide, folder)
            parts.append(dataclasses.replace(part, answer=written))
        return dataclasses.replace(answer, parts=tuple(parts))

    def write_files(self, chat: SlideChat, answer: Answer, slide: Path, folder: Path) -> Answer:
        """Write overlay and GeoJSON; returns the answer with their paths."""
        from ruichat.chat.geojson import answer_geojson
        from ruichat.chat.output import choose_paths, write_answer_files
        from ruichat.chat.overlay import answer_overlay

        paths = choose_paths(folder, slide, answer)
        write_answer_files(
            paths,
            overlay=answer_overlay(answer, chat.view, chat.thumbnail()),
            geojson=answer_geojson(answer),
        )
        if not self._quiet:
            typer.echo(f"{say('overlay', self.language)}: {strip_controls(str(paths.overlay))}")
            typer.echo(f"{say('geojson', self.language)}: {strip_controls(str(paths.geojson))}")
        files = {"overlay": str(paths.overlay), "geojson": str(paths.geojson)}
        return dataclasses.replace(answer, files=files)

    def chat(self, chat: SlideChat, slide: Path, folder: Path) -> None:
        """Questions and commands until /quit or the end of input."""
        interactive = sys.stdin.isatty()
        if interactive:
            _forget_lines()
            typer.echo(say("chat_intro", self.language), err=True)
        last: Answer | None = None
        while True:
            try:
                line = input("> " if interactive else "").strip()
            except EOFError:
                if interactive:
                    typer.echo(err=True)
                return
            except KeyboardInterrupt:
                typer.echo(f"\n{say('chat_at_prompt', self.language)}", err=True)
                continue
            if line in ("/quit", "/exit"):
                return
            try:
                if line.startswith("/"):
                    self._command(line, chat, last, slide, folder)
                elif line:
                    last = self._turn(chat, line) or last
            except RuiChatError as error:
                self.note(str(error))

    def _turn(self, chat: SlideChat, question: str) -> Answer | None:
        """One answer; Ctrl-C cancels it and leaves the chat as it was."""
        events = chat.ask(question)
        with closing(events):
            try:
                answer = self.stream(events)
            except KeyboardInterrupt:
                typer.echo(f"\n{say('chat_interrupted', self.language)}", err=True)
                return None
        self.show_verdict(answer)
        return answer

    def _command(
        self, line: str, chat: SlideChat, last: Answer | None, slide: Path, folder: Path
    ) -> None:
        name, _, argument = line.partition(" ")
        if name == "/help":
            typer.echo(say("chat_help", self.language))
        elif name == "/regions":
            self._show_regions(chat)
        elif name == "/facts":
            self._show_facts(chat)
        elif name == "/overlay":
            if last is None:
                self.note(say("chat_no_answer", self.language))
            else:
                self.write_files(chat, last, slide, folder)
        elif name == "/new":
            chat.forget()
            typer.echo(say("chat_new", self.language), err=True)
        elif name == "/think":
            self._set_thinking(chat, argument.strip())
        elif name == "/lang":
            self._set_language(argument.strip())
        else:
            self.note(say("chat_unknown", self.language))

    def _set_thinking(self, chat: SlideChat, choice: str) -> None:
        if choice not in ("on", "off", "show"):
            self.note(say("chat_think", self.language))
            return
        chat.let_think(choice != "off", show=choice == "show")
        typer.echo(say(_THINKING[choice], self.language), err=True)

    def _set_language(self, choice: str) -> None:
        if choice == "en":
            self._fixed = "en"
        elif choice == "zh":
            self._fixed = "zh"
        elif choice == "auto":
            self._fixed = None
        else:
            self.note(say("chat_lang", self.language))

    def _show_regions(self, chat: SlideChat) -> None:
        language = self.language
        heads = [say("region", language), say("box", language), say("leading", language)]
        typer.echo("\t".join(heads))
        for number, box in enumerate(chat.view.regions.boxes, start=1):
            classes = chat.view.cite(f"R{number}").classes
            names = [f"{BY_KEY[s.key].name(language)} {percent(s.fraction)}%" for s in classes]
            typer.echo(
                f"R{number}\t{box.x}, {box.y}, {box.width}, {box.height}\t{', '.join(names)}"
            )

    def _show_facts(self, chat: SlideChat) -> None:
        from ruichat.chat.facts import fact_values
        from ruichat.chat.texts import measured_line

        language, facts = self.language, chat.facts
        value = fact_values(facts, language)
        typer.echo(measured_line(facts, language))
        if facts.known_fraction is None:
            typer.echo(f"{say('composition', language)}: {say('not_measured', language)}")
            return
        typer.echo(
            f"{say('tumour', language)}: {value['{tumour_percent}']}, {value['{tumour_mm2}']}; "
            f"{say('known', language)}: {percent(facts.known_fraction)}%"
        )
        parts = [
            f"{BY_KEY[share.key].name(language)} {percent(share.fraction)}%"
            for share in facts.composition
        ]
        typer.echo(f"{say('composition', language)}: {', '.join(parts)}")


def _forget_lines() -> None:
    """Line editing without a history: questions may hold what must not be kept."""
    try:
        import readline
    except ImportError:
        return
    readline.set_auto_history(False)
