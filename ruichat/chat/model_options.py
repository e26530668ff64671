"""How a model is loaded and what it is shown, beyond its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ruichat.config import Config

if TYPE_CHECKING:
    from ruichat.model.pictures import PictureConfig


class ModelOptions(Config):
    """Settings of models that aren't ours; those that a model has no use for are refused."""

    base_url: str | None = None
    """Address of an OpenAI-compatible server; the environment's RUICHAT_BASE_URL if None."""
    allow_remote: bool = False
    """Whether pictures of the slide may leave this machine."""
    trust_remote_code: bool = False
    """Whether program files that come with this very model are run."""
    device: str = "auto"
    """Of torch; auto takes a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the weights; auto is that of the checkpoint."""
    max_regions: int = Field(default=12, ge=1, le=64)
    """Regions of which pictures are shown."""
    region_px: int = Field(default=448, ge=32, le=4096)
    """Longer side of the picture of a region, pixels."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Longest silence of a server, seconds."""

    def pictures(self) -> PictureConfig:
        """How large the pictures are."""
        from ruichat.model.pictures import PictureConfig

        return PictureConfig(
            max_regions=self.max_regions,
            region_px=self.region_px,
            overview_px=2 * self.region_px,
        )

    def given(self) -> set[str]:
        """Names of the settings that differ from their defaults."""
        plain = ModelOptions()
        return {
            name for name in type(self).model_fields if getattr(self, name) != getattr(plain, name)
        }
