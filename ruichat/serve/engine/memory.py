"""Slides that stay read and dialogues about them, bounded in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from ruichat.chat.ask import SlideChat
from ruichat.chat.reading import ReadSlide


@dataclass(frozen=True, slots=True)
class ChatKey:
    """Which dialogue about which slide."""

    chat_id: str
    slide_id: str


class Memory:
    """Keeps what was used last; safe for threads.

    What is in use stays in use: forgetting it here frees it once its users are done. So the bound
    is one on what is kept for later.

    Args:
        max_bytes: of all that is kept.
    """

    def __init__(self, max_bytes: float) -> None:
        self._max_bytes = max_bytes
        self._slides: OrderedDict[str, ReadSlide] = OrderedDict()
        self._chats: OrderedDict[ChatKey, SlideChat] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """Memory of all that is kept, about."""
        with self._lock:
            return self._num_bytes()

    @property
    def num_slides(self) -> int:
        """Slides that are kept."""
        return len(self._slides)

    def slide(self, slide_id: str) -> ReadSlide | None:
        """A slide that stays read; None if it doesn't."""
        with self._lock:
            found = self._slides.get(slide_id)
            if found is not None:
                self._slides.move_to_end(slide_id)
            return found

    def keep_slide(self, slide_id: str, read: ReadSlide) -> None:
        """Keep a slide read, and forget what was used longest ago."""
        with self._lock:
            self._slides[slide_id] = read
            self._slides.move_to_end(slide_id)
            self._trim()

    def take_chat(self, key: ChatKey) -> SlideChat | None:
        """A dialogue, for one user at a time: give it back with `keep_chat`."""
        with self._lock:
            return self._chats.pop(key, None)

    def keep_chat(self, key: ChatKey, chat: SlideChat) -> None:
        """Keep a dialogue about a slide that stays read."""
        with self._lock:
            if self._slides.get(key.slide_id) is chat.read:
                self._chats[key] = chat
                self._trim()

    def forget_slide(self, slide_id: str) -> None:
        """Forget a slide and the dialogues about it."""
        with self._lock:
            self._forget(slide_id)

    def _forget(self, slide_id: str) -> None:
        self._slides.pop(slide_id, None)
        for key in [key for key in self._chats if key.slide_id == slide_id]:
            del self._chats[key]

    def _trim(self) -> None:
        while self._num_bytes() > self._max_bytes:
            if self._chats:
                self._chats.popitem(last=False)
            elif self._slides:
                self._forget(next(iter(self._slides)))

    def _num_bytes(self) -> int:
        slides = sum(read.num_bytes for read in self._slides.values())
        return slides + sum(chat.num_bytes for chat in self._chats.values())
