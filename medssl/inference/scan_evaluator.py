"""The path of a prediction as a MONAI engine: what is scored is what is exported."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import Evaluator

from medssl.inference.predictor import Predictor


class ScanEvaluator(Evaluator):  # type: ignore[misc]
    """Predicts scans one after the other with a :class:`~medssl.inference.Predictor`.

    For each item of a batch the output holds, in the order and on the voxels of the scan's file,
    ``label_map`` ``(1, X, Y, Z)``, ``confidence`` and ``uncertainty`` likewise, and ``pred``
    ``(K, X, Y, Z)`` where the predictor keeps probabilities; ``prediction`` is all of it as the predictor
    returned it. The same predictor makes the files of
    ``medssl predict``, so that a score belongs to a file bit for bit. MONAI's ``SupervisedEvaluator`` with
    ``Invertd`` differs from it by what interpolation does at borders.

    Args:
        val_data_loader: batches as lists of items (``collate_fn``: ``monai.data.utils.no_collation``), with
            the preprocessed ``image``.
        inferer: the predictor.
        device: for the engine's state; the predictor has its own.
        val_handlers: what is done with the output.
    """

    def __init__(
        self,
        val_data_loader: Iterable[Sequence[Mapping[str, Any]]],
        inferer: Predictor,
        *,
        device: torch.device | str = "cpu",
        val_handlers: Sequence[Callable[[Engine], None]] | None = None,
    ) -> None:
        super().__init__(device, val_data_loader, val_handlers=val_handlers, decollate=False)
        self.inferer = inferer

    def _iteration(self, engine: Engine, batchdata: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Predict the scans of a batch."""
        return [self._predicted(item) for item in batchdata]

    def _predicted(self, item: Mapping[str, Any]) -> dict[str, Any]:
        prediction = self.inferer(item["image"])
        maps = {
            "label_map": prediction.labels,
            "confidence": prediction.confidence,
            "uncertainty": prediction.uncertainty,
        }
        output: dict[str, Any] = {
            name: torch.from_numpy(values).unsqueeze(0) for name, values in maps.items()
        }
        output["prediction"] = prediction
        if prediction.probabilities is not None:
            output["pred"] = torch.from_numpy(prediction.probabilities)
        return output
