"""The one way to OpenVINO: its converter would otherwise report usage to its maker."""

from __future__ import annotations

import sys
from types import ModuleType

from ruichat.registry import require


def import_openvino() -> ModuleType:
    """The openvino module, with its telemetry package kept from loading.

    Patient data stays in: nothing may call out, not even to say that a model was converted.

    Raises:
        PrerequisiteError: OpenVINO isn't installed.
    """
    # The converter falls back to a silent stand-in where this package can't be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return require("openvino")
