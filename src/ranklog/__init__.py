"""Experiment logger for distributed training: every rank calls the same `log`, and one run results.

Training scripts need only this package and `ranklog.loggers`. Importing them loads no framework and no backend's
package.
"""

from ranklog.loggers import (
    ConsoleLogger,
    CSVLogger,
    EmptyLogger,
    JournalLogger,
    LoggersCollection,
    MLFlowLogger,
    OpenTelemetryLogger,
    Prov4MLLogger,
    TensorBoardLogger,
    TrackioLogger,
    WandBLogger,
    create_logger,
)
from ranklog.model import __version__
from ranklog.model.place import Place
from ranklog.view.runs.opening import open_run, open_runs
from ranklog.world.place.current import place, rank_zero_only, rank_zero_print

__all__ = [
    "CSVLogger",
    "ConsoleLogger",
    "EmptyLogger",
    "JournalLogger",
    "LoggersCollection",
    "MLFlowLogger",
    "OpenTelemetryLogger",
    "Place",
    "Prov4MLLogger",
    "TensorBoardLogger",
    "TrackioLogger",
    "WandBLogger",
    "__version__",
    "create_logger",
    "open_run",
    "open_runs",
    "place",
    "rank_zero_only",
    "rank_zero_print",
]
