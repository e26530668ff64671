"""What the tiles of a slide show, from what the model has read: never read for an overlay alone."""

from __future__ import annotations

from ruichat.chat.reading import is_encoded, read_tiles
from ruichat.features.extract import ExtractConfig, extract
from ruichat.serve.engine.engine import Engine
from ruichat.serve.engine.memory import View
from ruichat.serve.slides.library import SlideLibrary
from ruichat.serve.slides.masks import Layer, class_layer
from ruichat.storage.artifacts import cache_dir


class ClassReader:
    """Layers of classes of slides that were read.

    Args:
        engine: has read them.
        library: opens those whose tiles are kept on disk alone.
    """

    def __init__(self, engine: Engine, library: SlideLibrary) -> None:
        self._engine, self._library = engine, library

    def __call__(self, slide_id: str) -> Layer | None:
        """What the tiles show; None where they weren't read, or where no classifier reads them."""
        read = self._engine.memory.get(View(slide_id))
        if read is not None:
            return None if read.reading is None else class_layer(read.bag, read.reading)
        if self._engine.model.status.state in ("loading", "failed"):
            return None  # masks and thumbnails don't wait for it
        backend = self._engine.backend()
        encoder = backend.encoder
        if encoder is None or backend.classifier is None:
            return None
        with self._library.open(slide_id) as slide:
            if not is_encoded(slide, backend):
                return None
            config = ExtractConfig.for_encoder(encoder.card, icc=slide.icc)
            bag = extract(slide, encoder, config, cache=cache_dir())
        reading = read_tiles(backend, bag)
        return None if reading is None else class_layer(bag, reading)
