"""The logger classes: each is the front of a backend, as data, plus the one `Logger`.

Names and arguments are those of `itwinai.loggers`. Nothing here imports a backend's package: the client lives on
the delivery side, in another process.
"""

from ranklog.logger.logger import Logger
from ranklog.loggers.base import BackendLogger
from ranklog.loggers.collection import LoggersCollection
from ranklog.loggers.console import ConsoleLogger
from ranklog.loggers.create import backend_names, create_logger
from ranklog.loggers.csv import CSVLogger
from ranklog.loggers.mlflow import MLFlowLogger
from ranklog.loggers.opentelemetry import OpenTelemetryLogger
from ranklog.loggers.plain import EmptyLogger, JournalLogger
from ranklog.loggers.prov import Prov4MLLogger
from ranklog.loggers.tensorboard import TensorBoardLogger
from ranklog.loggers.trackio import TrackioLogger
from ranklog.loggers.wandb import WandBLogger

__all__ = [
    "BackendLogger",
    "CSVLogger",
    "ConsoleLogger",
    "EmptyLogger",
    "JournalLogger",
    "Logger",
    "LoggersCollection",
    "MLFlowLogger",
    "OpenTelemetryLogger",
    "Prov4MLLogger",
    "TensorBoardLogger",
    "TrackioLogger",
    "WandBLogger",
    "backend_names",
    "create_logger",
]
