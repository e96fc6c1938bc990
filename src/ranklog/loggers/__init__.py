"""Logger classes with the names and arguments of ``itwinai.loggers``, and `create_logger`.

Each class checks its arguments and describes one backend as data. Nothing here imports a backend's package: the
client runs where delivery runs, usually in another process.
"""

from ranklog.logger.logger import Logger
from ranklog.loggers.arguments import RunArguments
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
    "RunArguments",
    "TensorBoardLogger",
    "TrackioLogger",
    "WandBLogger",
    "backend_names",
    "create_logger",
]
