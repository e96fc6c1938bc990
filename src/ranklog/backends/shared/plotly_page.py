"""Figures of plotly, as they were logged: read from their JSON, and written as pages for backends that show pages.

A page loads plotly's script from the network of whoever looks at it, as MLflow's own ``log_figure`` has it: the script
in each page would be megabytes. Raises `ImportError` where plotly is not installed.
"""

from __future__ import annotations

from typing import Any


def read_figure(body: bytes) -> Any:
    """The figure, also where another version of plotly knew properties that this one does not."""
    import plotly.io

    return plotly.io.from_json(body.decode(), skip_invalid=True)


def page_of(figure: Any) -> bytes:
    """A page that shows the figure; the same for the same figure."""
    import plotly.io

    page: str = plotly.io.to_html(figure, include_plotlyjs="cdn", div_id="figure")
    return page.encode()
