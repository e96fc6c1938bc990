"""A training by itwinai's trainer: ``itwinai_job.py PACKAGE URI``, with the loggers of PACKAGE; see `test_itwinai`."""

import importlib
import sys

import torch
from itwinai.torch.config import TrainingConfiguration
from itwinai.torch.trainer import TorchTrainer
from torch.utils.data import TensorDataset
from torchmetrics.classification import MulticlassAccuracy


def main(package: str, uri: str) -> None:
    loggers = importlib.import_module(f"{package}.loggers")
    torch.manual_seed(0)
    points = torch.randn(256, 8)
    labels = (points.sum(1) > 0).long()
    trainer = TorchTrainer(
        config=TrainingConfiguration(
            batch_size=16, num_workers_dataloader=0, pin_gpu_memory=False, dist_backend="gloo"
        ),
        epochs=3,
        model=torch.nn.Linear(8, 2),
        strategy="ddp",
        logger=loggers.MLFlowLogger(savedir="mllogs", experiment_name="points", tracking_uri=uri, log_freq=3),
        metrics={"accuracy": MulticlassAccuracy(num_classes=2)},
        disable_tqdm=True,
        checkpoints_location="checkpoints",
        checkpoint_every=1,
    )
    trainer.execute(TensorDataset(points[:192], labels[:192]), TensorDataset(points[192:], labels[192:]), None)


if __name__ == "__main__":
    main(*sys.argv[1:])
