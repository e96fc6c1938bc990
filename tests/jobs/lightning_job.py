"""A Lightning training that SIGTERM meets, with a logger that was opened before ``fit``; see `test_lightning`."""

import os
import sys

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from torch.utils.data import DataLoader, TensorDataset

from ranklog import JournalLogger


def say(mark: str) -> None:
    os.write(1, f"{mark}\n".encode())


class Model(pl.LightningModule):
    """One weight, trained until the job ends."""

    def __init__(self, logger: JournalLogger | None) -> None:
        super().__init__()
        self.weight = torch.nn.Linear(1, 1)
        self._ranklog = logger

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        if self._ranklog is not None:
            self._ranklog.log(float(self.global_step), "loss", step=self.global_step)
        if self.global_step == 10:
            say("ready")
        return self.weight(batch[0]).sum()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Ending(pl.Callback):
    """Says what Lightning's own ending reached."""

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        say(f"on_exception {type(exception).__name__}")


def main(savedir: str, with_logger: bool) -> None:
    logger = JournalLogger(savedir, run_id="lightning") if with_logger else None
    if logger is not None:
        logger.create_logger_context()
    trainer = pl.Trainer(
        max_epochs=-1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, default_root_dir=savedir, callbacks=[Ending()],
        plugins=[LightningEnvironment()],  # given, so that Lightning does not initialise MPI to look for ranks
    )  # fmt: skip
    try:
        trainer.fit(Model(logger), DataLoader(TensorDataset(torch.ones(64, 1)), batch_size=1))
    finally:
        say("after fit")


if __name__ == "__main__":
    main(sys.argv[1], with_logger=sys.argv[2] == "with")
