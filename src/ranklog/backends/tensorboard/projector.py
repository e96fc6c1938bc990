"""Embeddings as files for TensorBoard's projector.

Vectors, labels and sprite lie below ``projector/<name>/`` in the folder of the run, and a configuration lists all
embeddings. The projector shows the latest step of a name. Writing an item again gives the same files. Blocks for the
disk.
"""

from __future__ import annotations

import io
from pathlib import Path

from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig

from ranklog.abc import RunContext
from ranklog.backends.shared.artifacts import safe_path
from ranklog.journal.layout import make_private_dir, write_private
from ranklog.model.record import Item

CONFIG = "projector_config.pbtxt"
_FOLDER = "projector"
_VECTORS = "vectors.npy"
_TENSORS = "tensors.tsv"


class Projector:
    """The embeddings of one run.

    Args:
        context: Reads the contents of files.
        folder: Folder of the run.
    """

    def __init__(self, context: RunContext, folder: Path) -> None:
        self._context = context
        self._folder = folder
        self._shown: dict[str, EmbeddingInfo] = {}

    def restore(self, item: Item) -> None:
        """Restore an embedding that was written before."""
        base = f"{_FOLDER}/{safe_path(item.name)}"
        info = EmbeddingInfo(tensor_name=item.name, tensor_path=f"{base}/{_TENSORS}")
        paths = {file.path for file in item.files}
        if "metadata.tsv" in paths:
            info.metadata_path = f"{base}/metadata.tsv"
        if "sprite.png" in paths:
            info.sprite.image_path = f"{base}/sprite.png"
            size = (int(item.meta["sprite_width"] or 0), int(item.meta["sprite_height"] or 0))
            info.sprite.single_image_dim.extend(size)
        self._shown[item.name] = info

    def store(self, item: Item) -> None:
        """Write an embedding.

        Raises:
            ValueError: its vectors are no array.
        """
        import numpy as np

        target = self._folder / _FOLDER / safe_path(item.name)
        make_private_dir(target)
        for file in item.files:
            body = self._context.content(file)
            if file.path == _VECTORS:
                out = io.BytesIO()
                np.savetxt(out, np.load(io.BytesIO(body), allow_pickle=False), delimiter="\t", fmt="%.7g")
                write_private(target / _TENSORS, out.getvalue())
            else:
                self._context.materialise([file], target)
        self.restore(item)
        self._write_config()

    def _write_config(self) -> None:
        config = ProjectorConfig(embeddings=list(self._shown.values()))
        write_private(self._folder / CONFIG, text_format.MessageToString(config).encode())
