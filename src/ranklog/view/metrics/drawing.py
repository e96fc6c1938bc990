"""Metrics drawn with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ranklog.model.errors import MissingExtraError
from ranklog.view.metrics.frame import Frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours of Okabe and Ito, which people with a colour vision deficiency can tell apart."""
DASHES = ("-", "--", ":", "-.")
_LABELS = {"time": "time (UTC)", "relative": "seconds since the start", "running": "seconds of running"}


def draw(raw: Frame, smoothed: Frame | None, x: str, ax: Axes | None) -> Axes:
    """Draw one line per metric; with smoothed values, the raw ones are pale behind them.

    Lines that the axes have already, such as those of another run, keep their colours to themselves.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if ax is None:
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise MissingExtraError("plot needs matplotlib: pip install 'ranklog[media]'") from error
        ax = pyplot.subplots(layout="constrained")[1]
    drawn = sum(not str(line.get_label()).startswith("_") for line in ax.get_lines())
    position = x if x in {"step", "time"} else "x"
    for frame, alpha in ((raw, 1.0),) if smoothed is None else ((raw, 0.25), (smoothed, 1.0)):
        columns = frame.numpy()
        for number, name in enumerate(dict.fromkeys(columns["name"].tolist()), drawn):
            rows = columns["name"] == name
            style = DASHES[number // len(COLOURS) % len(DASHES)]
            ax.plot(
                columns[position][rows],
                columns["value"][rows],
                style,
                color=COLOURS[number % len(COLOURS)],
                alpha=alpha,
                label=name if alpha == 1.0 else None,
            )
    ax.set_xlabel(_LABELS.get(x, x))
    ax.legend()
    return ax
