"""Plotly figures: read from their JSON, and converted to HTML for backends that show HTML.

A page loads plotly's script from the network of its reader, as MLflow's own ``log_figure`` does: including the script
would add megabytes to every page. Both functions raise `ImportError` when plotly is not installed.
"""

from __future__ import annotations

from typing import Any


def read_figure(body: bytes) -> Any:
    """Return the figure, ignoring properties that the installed version of plotly does not know."""
    import plotly.io

    return plotly.io.from_json(body.decode(), skip_invalid=True)


def page_of(figure: Any) -> bytes:
    """Return an HTML page with the figure, always the same for the same figure."""
    import plotly.io

    page: str = plotly.io.to_html(figure, include_plotlyjs="cdn", div_id="figure")
    return page.encode()
