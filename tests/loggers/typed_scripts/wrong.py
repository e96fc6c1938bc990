"""Calls with mistakes; mypy reports each line with the code that stands in its comment."""

from ranklog import ConsoleLogger, LoggersCollection, MLFlowLogger, Place, WandBLogger, create_logger, place
from ranklog.loggers import EmptyLogger, JournalLogger, RunArguments

WandBLogger(project="x")  # call-arg
WandBLogger(offline_mode="yes")  # arg-type
WandBLogger("logs", "project", False, None, None, None, None, (), 5)  # call-arg
MLFlowLogger(log_freq="steps")  # arg-type
MLFlowLogger(tracking_uri=Place())  # arg-type
ConsoleLogger(resume="sometimes")  # arg-type
ConsoleLogger(forward="now")  # arg-type
JournalLogger(log_on_workers="all")  # arg-type
JournalLogger(run_ID="x")  # call-arg
EmptyLogger(projekt="x")  # call-arg
LoggersCollection([WandBLogger, MLFlowLogger()])  # list-item
create_logger("wandb", project_name="x")  # call-arg
create_logger(options={"wandb": "x"})  # dict-item
create_logger(experiment=3)  # arg-type
RunArguments(experimnt="x")  # typeddict-unknown-key

logger = JournalLogger()
logger.log(0.5, 3)  # arg-type
logger.log(0.5, "loss", step="1")  # arg-type
logger.log([[0.0]], "picture", kind="image", captoin="black")  # call-arg
logger.log_metrics([0.5])  # arg-type
logger.log_metrics({"a": 1.0}, goal="min")  # call-arg
logger.create_logger_context(run="x")  # call-arg
logger.start_logging(parent_run_id=3)  # arg-type
logger.run_id = "x"  # misc
logger.log_freq = "steps"  # assignment
first: int = logger.ranklog_run_id  # assignment
rank: str = place().rank  # assignment
