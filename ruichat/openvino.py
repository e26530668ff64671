"""The one way to OpenVINO: its converter would otherwise report usage to its maker."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from ruichat.registry import require

KEPT_SHAPES = 64
"""Kernels that a graph keeps of each kind, one for each shape of its inputs. With OpenVINO's own
bound, 5,000, prompts of 400 lengths took 1.1 GB; with this one 0.2 GB, and no question is slower.
"""


def import_openvino() -> ModuleType:
    """The openvino module, with its telemetry package kept from loading.

    Patient data stays in: nothing may call out, not even to say that a model was converted.

    Raises:
        PrerequisiteError: OpenVINO isn't installed.
    """
    # The converter falls back to a silent stand-in where this package can't be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return require("openvino")


def compile_graph(graph: Any, *, precision: str = "f32", num_threads: int | None = None) -> Any:
    """A graph made ready for this machine's cores.

    Args:
        graph: an `openvino.Model`.
        precision: of products, in OpenVINO's words. Stated, as CPUs that have bfloat16 compute in
            it otherwise.
        num_threads: OpenVINO's choice if None.

    Returns:
        An `openvino.CompiledModel`.
    """
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "CPU_RUNTIME_CACHE_CAPACITY": KEPT_SHAPES,
    }
    if num_threads is not None:
        settings["INFERENCE_NUM_THREADS"] = num_threads
    return import_openvino().Core().compile_model(graph, "CPU", settings)
