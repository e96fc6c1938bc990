"""The form of each kind in TensorBoard. Unlike `items`, it can be read without TensorBoard's package."""

from __future__ import annotations

FORMS = {
    "metric": "scalar",
    "param": "hparam",
    "text": "text",
    "dict": "text",
    "table": "text",
    "histogram": "histogram",
    "image": "image",
    "figure": "image; plotly: file",
    "audio": "audio",
    "video": "animated image",
    "dataset": "text",
    "graph": "graph",
    "embedding": "projector",
    "pr_curve": "PR curve",
    "alert": "text",
}
