"""Trained models, from their checkpoints alone: network, preprocessing and windows as they were trained."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Literal

import torch
from monai.transforms import Compose
from torch import nn

from medssl.common.errors import InputError
from medssl.common.run_folder import RunFolder
from medssl.data.reading.loading import IMAGE_KEY, LoadCased
from medssl.inference.checkpoints import Which, checkpoint_file, load_checkpoint, load_weights
from medssl.inference.deployable import deployable
from medssl.inference.description import (
    ModelDescription,
    build_network,
    build_preprocessing,
    read_description,
)
from medssl.inference.fitting import Fitted
from medssl.inference.predictor import Prediction, Predictor, Uncertainty
from medssl.inference.temperature import stored_temperature
from medssl.inference.windows import WindowWeights
from medssl.networks import Deployed, Network, check_patch_size


@dataclass(frozen=True)
class Deployment:
    """What a prediction needs.

    Attributes:
        checkpoints: the files; several are an ensemble.
        networks: one a checkpoint, with its weights, as it was trained.
        steps: of each training, up to the checkpoint.
        transform: the preprocessing; its first transform loads the image.
        description: how the models were trained.
    """

    checkpoints: tuple[Path, ...]
    networks: tuple[Network, ...]
    steps: tuple[int, ...]
    transform: Compose
    description: ModelDescription

    def predictor(
        self,
        *,
        stride: Sequence[int] | None = None,
        batch_size: int = 4,
        weights: WindowWeights = "constant",
        flip_axes: Collection[int] = (),
        uncertainty: Uncertainty | None = None,
        keep_probabilities: bool = False,
        temperature: float | None = None,
        amp: Literal["off", "bf16"] | None = None,
        channels_last: bool | None = None,
        device: torch.device | str | None = None,
    ) -> Predictor:
        """A predictor with the settings of the training, but for those that are given.

        Args:
            stride: step between windows; by default the training's, which may be none: whole images.
            batch_size: windows at once.
            weights: of a window's voxels.
            flip_axes: average over flips of every combination of these axes, of 0, 1 and 2, in 2D 0 and 1.
            uncertainty: by default that of an ensemble where there are several checkpoints, else the entropy.
            keep_probabilities: return those of every class as well.
            temperature: of the probabilities; by default the stored one of a single checkpoint, else 1.
            amp: precision; by default ``"bf16"`` where the training had it.
            channels_last: memory layout.
            device: by default a GPU where there is one.

        Raises:
            InputError: an axis that there is not, a temperature that is not above 0, the dual axis of a
                network with one decoder, what :class:`~medssl.inference.Predictor` refuses.
        """
        trained, axes = self.description, sorted(set(flip_axes))
        known = range(len(trained.patch_size))
        if not set(axes) <= set(known):
            raise InputError(f"flips {axes}", "no such axis", f"choose among {' '.join(map(str, known))}")
        if temperature is None:
            temperature = stored_temperature(self.checkpoints[0]) if len(self.checkpoints) == 1 else 1.0
        if not temperature > 0:
            raise InputError(f"temperature {temperature}", "not above 0", "1 changes nothing")
        uncertainty = uncertainty or ("ensemble" if len(self.networks) > 1 else "entropy")
        if uncertainty == "dual-axis":
            self._check_decoders()
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        channels_last = trained.channels_last if channels_last is None else channels_last
        return Predictor(
            self.ready(device=device, channels_last=channels_last, whole=uncertainty == "dual-axis"),
            num_classes=trained.num_classes,
            patch=trained.patch_size,
            stride=stride or trained.stride,
            batch_size=batch_size,
            weights=weights,
            flips=list(chain.from_iterable(combinations(axes, n) for n in range(1, len(axes) + 1))),
            uncertainty=uncertainty,
            keep_probabilities=keep_probabilities,
            temperature=temperature,
            amp=amp or ("bf16" if trained.amp == "bf16" else "off"),
            channels_last=channels_last,
            device=device,
        )

    def _check_decoders(self) -> None:
        """Refuse networks with one decoder, by a patch of zeros, before any file is written."""
        load = next(step for step in self.transform.transforms if isinstance(step, LoadCased))
        patch = torch.zeros(1, load.in_channels or 1, *self.description.patch_size)
        with torch.inference_mode():
            if any(len(network.eval()(patch).logits) < 2 for network in self.networks):
                fault, remedy = "the network has one decoder", "use entropy, or an ensemble"
                raise InputError("uncertainty dual-axis", fault, remedy)

    def ready(
        self, *, device: torch.device | str, channels_last: bool, whole: bool = False
    ) -> list[nn.Module]:
        """The networks as a :class:`~medssl.inference.Predictor` wants them.

        Args:
            device: where they are to be.
            channels_last: memory layout.
            whole: with every decoder, and not the deployed path alone.
        """
        ready: list[nn.Module] = []
        for network in self.networks:
            part = deployable(network if whole else Deployed(network), channels_last=channels_last)
            fitted = Fitted(part, multiple=network.patch_multiple, fitting=network.fitting)
            ready.append(fitted.to(device))
        return ready

    def loader(self, key: str, *, label_map: Mapping[Any, Any] | None = None) -> LoadCased:
        """What loads reference labels as the training loaded them.

        Args:
            key: of the label.
            label_map: that of their datalist.
        """
        load = next(step for step in self.transform.transforms if isinstance(step, LoadCased))
        return LoadCased(
            key, h5_spacing=load.h5_spacing, label_map=label_map, num_classes=self.description.num_classes
        )

    def predict(self, scan: str | Path, **options: Any) -> Prediction:
        """Predict one scan.

        Args:
            scan: its file, or a folder with a DICOM series.
            options: of :meth:`predictor`.
        """
        return self.predictor(**options)(self.transform({IMAGE_KEY: str(scan)})[IMAGE_KEY])


def load_deployment(
    checkpoints: Sequence[str | Path],
    *,
    allow: Collection[str] = (),
    label_map: Mapping[Any, Any] | None = None,
) -> Deployment:
    """Read trained models, as they say of themselves that they were trained.

    Args:
        checkpoints: one, or the members of an ensemble.
        allow: packages, or the name of one, beside medssl's and MONAI's whose classes a checkpoint may name.
        label_map: of labels that the preprocessing is to load.

    Raises:
        InputError: no such file, members that were trained with different settings, what
            :func:`~medssl.inference.description.read_description` and
            :func:`~medssl.inference.description.build_network` raise.
    """
    allow = [allow] if isinstance(allow, str) else allow  # as a bundle's command line gives it
    paths = tuple(map(Path, checkpoints))
    descriptions, networks, steps = [], [], []
    for path in paths:
        checkpoint = load_checkpoint(path)
        description = read_description(path, checkpoint["meta"])
        descriptions.append(description)
        first = descriptions[0]
        if replace(description, network=first.network, class_names=first.class_names) != first:
            raise InputError(path, f"was trained otherwise than {paths[0]}", "use runs of one setting")
        network = build_network(description.network, where=path, allow=allow)
        load_weights(path, checkpoint, network)
        check_patch_size(network, description.patch_size)
        networks.append(network.eval())
        steps.append(int(checkpoint["progress"]["step"]))
    transform = build_preprocessing(
        first.preprocessing, first.orientation, where=paths[0], allow=allow, label_map=label_map
    )
    return Deployment(paths, tuple(networks), tuple(steps), transform, first)


@dataclass(frozen=True)
class TrainedRun:
    """A run that has been trained.

    Attributes:
        record: ``run.json``; empty for a checkpoint outside of a run's folder.
        config: ``config.yaml``, unevaluated; likewise.
        deployment: the model.
    """

    record: Mapping[str, Any]
    config: Mapping[str, Any]
    deployment: Deployment

    def predictor(self, **options: Any) -> Predictor:
        """See :meth:`Deployment.predictor`."""
        return self.deployment.predictor(**options)


def load_run(
    run_or_checkpoint: str | Path, *, which: Which = "last", allow: Collection[str] = ()
) -> TrainedRun:
    """A run from its folder, or from one of its checkpoints.

    Args:
        run_or_checkpoint: the folder, or ``best.pt`` or ``last.pt``, which may lie elsewhere.
        which: checkpoint of a folder.
        allow: see :func:`load_deployment`.

    Raises:
        InputError: as :func:`load_deployment`.
    """
    path = checkpoint_file(run_or_checkpoint, which)
    run = RunFolder(path.parent)
    return TrainedRun(
        run.read() if run.record.is_file() else {},
        run.settings() if run.config.is_file() else {},
        load_deployment([path], allow=allow),
    )


def predict(
    run_or_checkpoint: str | Path,
    scan: str | Path,
    *,
    which: Which = "last",
    allow: Collection[str] = (),
    **options: Any,
) -> Prediction:
    """Predict one scan with a trained model.

    Args:
        run_or_checkpoint: see :func:`load_run`, which serves several scans better.
        scan: its file, or a folder with a DICOM series.
        which: checkpoint of a folder.
        allow: see :func:`load_deployment`.
        options: of :meth:`Deployment.predictor`.
    """
    return load_run(run_or_checkpoint, which=which, allow=allow).deployment.predict(scan, **options)


def trained_network(checkpoint: str | Path, *, allow: Collection[str] = ()) -> nn.Module:
    """The deployed path of a trained network with its weights, for export.

    Args:
        checkpoint: a ``best.pt`` or ``last.pt``, or the folder of a run.
        allow: see :func:`load_deployment`.
    """
    return Deployed(load_deployment([checkpoint_file(checkpoint)], allow=allow).networks[0])
