"""The engine: questions in, events out; one model, loaded once, for everybody."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from ruichat.chat.answer import Answer, Thought
from ruichat.chat.ask import AskConfig, SlideChat
from ruichat.chat.backend import Backend
from ruichat.chat.case_answer import MAX_SLIDES, CaseAnswer, NotAsked, ask_case, why_not
from ruichat.chat.drawn import read_drawn
from ruichat.chat.question import clean_question
from ruichat.chat.reading import ReadSlide
from ruichat.chat.warming import warm_up
from ruichat.errors import InputError, ModelError, NotFoundError, RuiChatError
from ruichat.model.chat_model import Usage
from ruichat.serve.engine.events import (
    Done,
    Event,
    Failed,
    Reading,
    Stopped,
    ThoughtWords,
    Waiting,
    Words,
)
from ruichat.serve.engine.jobs import ReadingJobs
from ruichat.serve.engine.loading import LoadedModel, load_model
from ruichat.serve.engine.memory import ChatKey, Memory, View
from ruichat.serve.engine.pictures import Pictures, WithPictures
from ruichat.serve.engine.queueing import FairQueue
from ruichat.serve.engine.reading import SlideReader, Slides
from ruichat.serve.engine.requests import Ask, CancelledQuestion, EngineFullError, Ticket
from ruichat.serve.engine.settings import EngineSettings
from ruichat.storage.database.connect import Database

log = logging.getLogger(__name__)

FIRST_GUESS_S = 5.0
"""Taken for the time of an answer until one has been measured."""

MAX_RETRY_S = 60


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """How busy the engine is.

    Attributes:
        model: its name; "" until it is loaded.
        num_waiting: questions in the queue or behind slides that are being read.
        num_answering: answers being written.
        num_reading: slides being read, or waiting for it.
        num_slides: slides that stay read.
        memory_bytes: what they and the dialogues about them take, about.
    """

    model: str
    num_waiting: int
    num_answering: int
    num_reading: int
    num_slides: int
    memory_bytes: int


class Engine:
    """Answers questions about slides, fairly between people; safe for threads.

    A question is first watched until its slides are read, then waits for its person's turn, then
    is answered by one of a few threads. What goes wrong with one question is told to its asker
    and to nobody else.

    Args:
        settings: bounds.
        slides: gives open slides by their ids.
        loader: loads the model; by the settings if None.
        database: keeps slides that are read in the background; None where none are.

    Attributes:
        model: and how it stands with it.
        memory: of slides that stay read.
        reader: reads slides.
        pictures: those that came with questions.
    """

    def __init__(
        self,
        settings: EngineSettings,
        slides: Slides,
        loader: Callable[[], Backend] | None = None,
        *,
        database: Database | None = None,
    ) -> None:
        self.settings = settings
        self.pictures = Pictures()
        slides = WithPictures(slides, self.pictures)
        self.model = LoadedModel(loader or (lambda: load_model(settings)), warm_up)
        self.memory = Memory(settings.memory_mb * 1e6)
        self.reader = SlideReader(
            slides, self.model, self.memory, at_once=settings.slides_read_at_once
        )
        self._jobs = None if database is None else ReadingJobs(self.reader, database)
        self._changed = threading.Condition()
        self._queue: FairQueue[_Question] = FairQueue()
        self._open: dict[Ticket, _Question] = {}
        self._answering: set[Ticket] = set()
        self._answer_s = FIRST_GUESS_S
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"answer-{i}", daemon=True)
            for i in range(settings.answers_at_once)
        ]
        for thread in self._threads:
            thread.start()

    def backend(self) -> Backend:
        """The model; loaded by whoever needs it first, unless `model.preload` was called.

        Raises:
            ConfigError, PrerequisiteError, ArtifactError, ModelError: it can't be loaded.
        """
        return self.model.get()

    def status(self) -> EngineStatus:
        """How busy it is now."""
        with self._changed:
            answering = len(self._answering)
            waiting = len(self._open) - answering
        backend = self.model.status.backend
        return EngineStatus(
            model="" if backend is None else backend.name,
            num_waiting=waiting,
            num_answering=answering,
            num_reading=self.reader.num_reading,
            num_slides=self.memory.num_slides,
            memory_bytes=self.memory.num_bytes,
        )

    def ask(self, ask: Ask) -> Ticket:
        """Take a question in.

        Raises:
            InputError: it is empty or too long, or about no slide.
            EngineFullError: too many wait.
        """
        clean_question(ask.question)
        if not ask.asked_slides:
            raise InputError("the question is about no slide", hint="Choose one")
        ticket = Ticket(ask, self._cancel)
        question = _Question(ticket, self)
        with self._changed:
            self._check_room(ask)
            self._open[ticket] = question
        question.gather()
        return ticket

    @property
    def jobs(self) -> ReadingJobs:
        """Slides that are read in the background."""
        assert self._jobs is not None, "the engine was made without a database"
        return self._jobs

    def read_slide(self, slide_id: str, user_id: str) -> str:
        """Have a slide read ahead of any question; returns the id of the job.

        Raises:
            NotFoundError: there is no such slide for the user.
        """
        return self.jobs.start(slide_id, user_id)

    def forget_slide(self, slide_id: str) -> None:
        """Keep nothing of a slide that was removed or changed, and read it no further."""
        self.reader.drop(slide_id)
        self.memory.forget_slide(slide_id)

    def close(self) -> None:
        """Stop every question and end the threads."""
        self.model.close()
        if self._jobs is not None:
            self._jobs.close()
        with self._changed:
            self._closed = True
            tickets = list(self._open)
            self._changed.notify_all()
        for ticket in tickets:
            ticket.cancel()
        for thread in self._threads:
            thread.join(timeout=5)

    def _check_room(self, ask: Ask) -> None:
        if self._closed:
            raise ModelError("the server is shutting down", hint="Ask again in a minute")
        settings, num = self.settings, len(self._open)
        waiting = num - len(self._answering)
        own = sum(ticket.ask.user_id == ask.user_id for ticket in self._open)
        if own >= settings.max_waiting_per_user:
            message = f"{own} of your questions wait already; so many are allowed"
            raise EngineFullError(message, retry_after_s=self._wait_s(own))
        if waiting >= settings.max_waiting:
            message = f"{waiting} questions wait already; so many are allowed"
            raise EngineFullError(message, retry_after_s=self._wait_s(waiting))

    def _wait_s(self, num: int) -> int:
        """Seconds until one of so many questions has likely been answered."""
        rounds = num / self.settings.answers_at_once
        return min(MAX_RETRY_S, max(1, round(rounds * self._answer_s)))

    def enqueue(self, question: _Question) -> None:
        """Let a question whose slides are read wait for its turn."""
        with self._changed:
            if question.ticket not in self._open or question.ticket.is_cancelled:
                return
            self._queue.put(question.ticket.ask.user_id, question)
            self._tell_places()
            self._changed.notify()

    def finish(self, ticket: Ticket, event: Event) -> None:
        """Tell a question's last event."""
        with self._changed:
            self._open.pop(ticket, None)
            self._answering.discard(ticket)
        ticket.put(event)

    def _cancel(self, ticket: Ticket) -> None:
        with self._changed:
            question = self._open.get(ticket)
            if question is None or ticket in self._answering:
                return  # the thread that answers it notices at the next piece
            self._queue.remove(ticket.ask.user_id, question)
            self._tell_places()
        question.leave()
        self.finish(ticket, Stopped())

    def _tell_places(self) -> None:
        for question, place in self._queue.places().items():
            if question.ticket.position != place:
                question.ticket.put(Waiting(place))

    def _work(self) -> None:
        while True:
            with self._changed:
                question = self._queue.take()
                while question is None:
                    if self._closed:
                        return
                    self._changed.wait()
                    question = self._queue.take()
                self._answering.add(question.ticket)
                question.ticket.put(Waiting(0))
                self._tell_places()
            started = time.monotonic()
            self.finish(question.ticket, self._answer(question))
            self._answer_s += 0.2 * (time.monotonic() - started - self._answer_s)

    def _answer(self, question: _Question) -> Event:
        """The last event; a question that fails must not end the thread."""
        ticket = question.ticket
        try:
            return question.answer()
        except CancelledQuestion:
            return Stopped()
        except RuiChatError as error:
            return Failed(error)
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("question %s: %s\n%s", ticket.id, type(error).__name__, where)
            return Failed(ModelError("the answer failed", hint="See the server's log"))


class _Question:
    """One question within the engine: it gathers its slides, then it is answered.

    Of several slides those that can't be read are left out, and those after `MAX_SLIDES`.
    """

    def __init__(self, ticket: Ticket, engine: Engine) -> None:
        self.ticket, self._engine = ticket, engine
        self._slides = ticket.ask.asked_slides[:MAX_SLIDES]
        self._read: dict[str, ReadSlide] = {}
        self._unread: dict[str, RuiChatError] = {}
        self._lock = threading.Lock()

    @property
    def user_id(self) -> str:
        """See `reading.Watcher`."""
        return self.ticket.ask.user_id

    def gather(self) -> None:
        """Have its slides read."""
        for slide_id in self._slides:
            self._engine.reader.want(slide_id, self)
        if self.ticket.is_cancelled:
            self.leave()

    def leave(self) -> None:
        """Wait no longer for slides."""
        for slide_id in self._slides:
            self._engine.reader.leave(slide_id, self)

    def progress(self, slide_id: str, stage: str, done: int, total: int) -> None:
        """See `reading.Watcher`."""
        self.ticket.put(Reading(slide_id, stage, done, total))

    def ready(self, slide_id: str, read: ReadSlide) -> None:
        """See `reading.Watcher`."""
        self._settle(slide_id, read)

    def failed(self, slide_id: str, error: RuiChatError) -> None:
        """See `reading.Watcher`."""
        if isinstance(error, InputError | NotFoundError):
            self._settle(slide_id, error)
        else:  # not for this slide alone
            self.leave()
            self._engine.finish(self.ticket, Failed(error))

    def _settle(self, slide_id: str, outcome: ReadSlide | RuiChatError) -> None:
        with self._lock:
            if isinstance(outcome, RuiChatError):
                self._unread[slide_id] = outcome
            else:
                self._read[slide_id] = outcome
            is_settled = len(self._read) + len(self._unread) == len(self._slides)
        if is_settled and self._read:
            self._engine.enqueue(self)
        elif is_settled:
            self._engine.finish(self.ticket, Failed(next(iter(self._unread.values()))))

    def answer(self) -> Done:
        """The answer; its words are told as they come.

        Raises:
            CancelledQuestion: nobody wants it any more.
            RuiChatError: why there is none.
        """
        ask, memory = self.ticket.ask, self._engine.memory
        outline = None if ask.region is None else ask.region.outline
        chats: dict[ChatKey, SlideChat] = {}
        try:
            for slide_id in filter(self._read.__contains__, self._slides):
                self.ticket.check()
                key = ChatKey(ask.chat_id, View(slide_id, outline))
                chats[key] = self._open(key)
                chats[key].recall(ask.earlier, ask.question, watch=self.ticket.check)
            answer = self._speak({key.view.slide_id: chat for key, chat in chats.items()})
            return Done(answer, Usage.total(chat.usage for chat in chats.values()))
        finally:
            for key, chat in chats.items():
                if ask.chat_id:
                    memory.keep_chat(key, chat)

    def _open(self, key: ChatKey) -> SlideChat:
        """The dialogue about one slide, or a new one."""
        ask, memory = self.ticket.ask, self._engine.memory
        read = self._read[key.view.slide_id]
        if key.view.outline is not None:
            known = memory.get(key.view)
            read = known or read_drawn(read, key.view.outline)
            memory.keep(key.view, read)
        chat = memory.take_chat(key) if ask.chat_id else None
        if chat is None or chat.read is not read:
            chat = SlideChat(read, AskConfig())
        most = self._engine.settings.max_answer_tokens
        chat.change(
            max_tokens=min(ask.max_tokens or most, most),
            language=ask.language,
            think=ask.think,
            show_thinking=ask.show_thinking,
            context=ask.context,
        )
        return chat

    def _speak(self, chats: Mapping[str, SlideChat]) -> Answer | CaseAnswer:
        ticket, ask = self.ticket, self.ticket.ask
        if len(ask.asked_slides) == 1:
            (chat,) = chats.values()
            events = chat.ask(ask.question, watch=ticket.check)
        else:
            asked: dict[str, SlideChat | NotAsked] = dict.fromkeys(ask.asked_slides, "too_many")
            asked |= chats
            asked |= {slide_id: why_not(error) for slide_id, error in self._unread.items()}
            events = ask_case(asked, ask.question, language=ask.language, watch=ticket.check)
        with closing(events):
            for event in events:
                ticket.check()
                if isinstance(event, Answer | CaseAnswer):
                    return event
                if isinstance(event, Thought):
                    ticket.put(ThoughtWords(event.text))
                elif event:
                    ticket.put(Words(event))
        raise AssertionError("an answer ends with an answer")
