"""What an operator chooses about the engine."""

from __future__ import annotations

from pydantic import Field

from ruichat.chat.model_options import ModelOptions
from ruichat.config import Config
from ruichat.features.cores import usable_cores


class EngineSettings(Config):
    """How much the engine does at once, and what it keeps."""

    model: str = "mini"
    """Name of an embedded model, a model folder, "hub:OWNER/NAME", "openai:NAME" or
    "embeds:FOLDER"."""
    model_base_url: str = ""
    """Address of the server of openai:NAME or embeds:FOLDER, ending in /v1."""
    model_allow_remote: bool = False
    """Whether pictures or embeddings of slides may leave this machine for that server."""
    model_trust_remote_code: bool = False
    """Whether program files that come with another project's model are run."""
    model_device: str = "auto"
    """Of such a model: auto, cpu, cuda, cuda:1."""
    model_threads: int = Field(default=0, ge=0)
    """Threads of the model and of the tile encoder; 0 leaves one core to tiles and pages."""
    answers_at_once: int = Field(default=8, ge=1)
    """Answers that are written at the same time."""
    max_waiting: int = Field(default=64, ge=1)
    """Questions that may wait beside these; further ones are refused until some are answered."""
    max_waiting_per_user: int = Field(default=8, ge=1)
    """Questions of one person that may wait or be answered at the same time."""
    slides_read_at_once: int = Field(default=1, ge=1)
    """New slides that are encoded at the same time; each takes the threads of the model."""
    memory_mb: float = Field(default=1024.0, gt=0)
    """Memory for slides that stay read and for dialogues, megabytes (10^6 bytes)."""
    max_answer_tokens: int = Field(default=160, gt=0)
    """Longest answer, text tokens."""

    @property
    def model_options(self) -> ModelOptions:
        """How models that aren't ours are loaded."""
        return ModelOptions(
            base_url=self.model_base_url or None,
            allow_remote=self.model_allow_remote,
            trust_remote_code=self.model_trust_remote_code,
            device=self.model_device,
        )

    @property
    def num_threads(self) -> int:
        """Threads of the model and of the tile encoder."""
        return self.model_threads or max(1, len(usable_cores()) - 1)
