"""Slides that stay read and dialogues about them, bounded in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from ruichat.chat.ask import SlideChat
from ruichat.chat.outline import Outline0
from ruichat.chat.reading import ReadSlide


@dataclass(frozen=True, slots=True)
class View:
    """What can stay read: a slide, or a region that was drawn on it."""

    slide_id: str
    outline: Outline0 | None = None


@dataclass(frozen=True, slots=True)
class ChatKey:
    """Which dialogue about what."""

    chat_id: str
    view: View


class Memory:
    """Keeps what was used last; safe for threads.

    What is in use stays in use: forgetting it here frees it once its users are done. So the bound
    is one on what is kept for later.

    Args:
        max_bytes: of all that is kept.
    """

    def __init__(self, max_bytes: float) -> None:
        self._max_bytes = max_bytes
        self._views: OrderedDict[View, ReadSlide] = OrderedDict()
        self._chats: OrderedDict[ChatKey, SlideChat] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """Memory of all that is kept, about."""
        with self._lock:
            return self._num_bytes()

    @property
    def num_slides(self) -> int:
        """Slides that are kept, and regions drawn on them."""
        return len(self._views)

    def get(self, view: View) -> ReadSlide | None:
        """What stays read; None if it doesn't."""
        with self._lock:
            found = self._views.get(view)
            if found is not None:
                self._views.move_to_end(view)
            return found

    def keep(self, view: View, read: ReadSlide) -> None:
        """Keep something read, and forget what was used longest ago."""
        with self._lock:
            self._views[view] = read
            self._views.move_to_end(view)
            self._trim()

    def take_chat(self, key: ChatKey) -> SlideChat | None:
        """A dialogue, for one user at a time: give it back with `keep_chat`."""
        with self._lock:
            return self._chats.pop(key, None)

    def keep_chat(self, key: ChatKey, chat: SlideChat) -> None:
        """Keep a dialogue about a slide that stays read."""
        with self._lock:
            if self._views.get(key.view) is chat.read:
                self._chats[key] = chat
                self._trim()

    def forget_slide(self, slide_id: str) -> None:
        """Forget a slide, the regions drawn on it and the dialogues about them."""
        with self._lock:
            for view in [view for view in self._views if view.slide_id == slide_id]:
                self._forget(view)

    def _forget(self, view: View) -> None:
        del self._views[view]
        for key in [key for key in self._chats if key.view == view]:
            del self._chats[key]

    def _trim(self) -> None:
        while self._num_bytes() > self._max_bytes:
            if self._chats:
                self._chats.popitem(last=False)
            elif self._views:
                self._forget(next(iter(self._views)))

    def _num_bytes(self) -> int:
        slides = sum(read.num_bytes for read in self._views.values())
        return slides + sum(chat.num_bytes for chat in self._chats.values())
