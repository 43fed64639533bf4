"""The cases of a training, and what its record says of them."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from medssl.common.run_folder import RunFolder, Selection
from medssl.data import Datalist, contents_sha256, validate_datalist, validate_labels
from medssl.training.configuration import merged_configuration
from medssl.training.runs import start_run
from medssl.training.settings import selection_of, validation_cases

Item = dict[str, Any]


class TrainingCases:
    """Who is labelled, unlabelled, for validation and for testing; checked when it is made.

    Args:
        datalist: from :func:`medssl.data.training_datalist`.
        selection: who chooses ``best.pt``: ``"validation"``, ``"test-oracle"`` or ``"none"``.
        num_classes: classes including background.
        label_map: stored class ids that stand for others.
        allow_absent_classes: train although no labelled case shows some class.
        unlabeled_per_batch: 0 leaves the unlabelled cases out: they are neither opened nor recorded.

    Attributes:
        datalist: the datalist.
        labeled, unlabeled, validation, test: items with ``case``, ``image`` and, but for the unlabelled
            ones, ``label``.
        hidden_labels: unlabelled items with a label that was kept aside, for analysis only.
        selection: who chooses ``best.pt``; ``"none"`` where there is no validation case.

    Raises:
        InputError: what ``medssl check`` calls an error, or labels that would be learnt wrong.
    """

    def __init__(
        self,
        datalist: Datalist,
        *,
        selection: str,
        num_classes: int,
        label_map: Mapping[Any, int] | None = None,
        allow_absent_classes: bool = False,
        unlabeled_per_batch: int = 1,
    ) -> None:
        self.datalist, self.label_map = datalist, label_map
        self.selection: Selection = selection_of(datalist, selection)
        self.labeled: list[Item] = list(datalist["training"])
        self.unlabeled: list[Item] = list(datalist["unlabeled"]) if unlabeled_per_batch else []
        self.validation: list[Item] = validation_cases(datalist, selection)
        self.test: list[Item] = list(datalist["test"])
        hidden = datalist.get("hidden_labels") or {}
        self.hidden_labels: list[Item] = [
            {**item, "label": hidden[item["case"]]} for item in self.unlabeled if item["case"] in hidden
        ]
        validate_datalist(datalist)
        validate_labels(
            self.labeled,
            self.validation,
            num_classes=num_classes,
            label_map=label_map,
            allow_absent_classes=allow_absent_classes,
        )

    @property
    def training(self) -> list[Item]:
        """What the training loader draws from, the labelled cases first."""
        return [*self.labeled, *self.unlabeled]

    @cached_property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` says of the cases: counts, names, and hashes of lists and files."""
        used = {
            "training": self.labeled,
            "unlabeled": self.unlabeled,
            "validation": self.validation,
            "test": self.test,
        }
        return {
            "labeled": len(self.labeled),
            "selection": self.selection,
            "split_sha256": self.datalist["split_sha256"],
            "dataset_fingerprint": contents_sha256(used),
            "test_fingerprint": contents_sha256(self.datalist, ["test"]),
            "label_map": self.label_map,
            "training_cases": [item["case"] for item in self.labeled],
        }


def run_name(cases: TrainingCases, *, dataset: str, method: str, seed: int) -> str:
    """Where a run lies by default: ``runs/la-tcseg-labeled8-seed1``, from where the user stands."""
    return f"runs/{dataset}-{method}-labeled{len(cases.labeled)}-seed{seed}"


def begin_run(
    run_dir: str | Path,
    cases: TrainingCases,
    *,
    dataset: str,
    method: str,
    seed: int,
    setting: str | None = None,
    bundle_root: str | Path = ".",
    annotations_sha256: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> RunFolder:
    """Open a run's folder with what the cases and the configuration say of it.

    To be called by an expression of the configuration, as :func:`medssl.training.merged_configuration`; the
    arguments are those of :func:`medssl.training.start_run`.

    Args:
        run_dir: the folder.
        cases: of the training.
        dataset: name of the data set, unless the datalist has one.
        method: name of the method.
        seed: the seed.
        setting: name of the row that the run belongs to in a table; by default the method's.
        bundle_root: the bundle, whose ``logging.conf`` is kept.
        annotations_sha256: hash of the annotation maps, of a method that learns from an annotator.
        resume: go on with the run in the folder.
        overwrite: replace it.

    Raises:
        InputError: as :func:`medssl.training.start_run`.
    """
    return start_run(
        run_dir,
        config=merged_configuration(),
        dataset=cases.datalist.get("name", dataset),
        method=method,
        seed=seed,
        setting=setting,
        logging_conf=Path(bundle_root) / "configs" / "logging.conf",
        annotations_sha256=annotations_sha256,
        resume=resume,
        overwrite=overwrite,
        **cases.record,
    )
