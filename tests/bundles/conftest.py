"""Tiny sets of phantoms and of shapes, and the bundles' configs run inside this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import monai.bundle
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigWorkflow
from scipy.special import softmax

from medssl.annotators.maps import write_map
from medssl.common.errors import find_input_error
from medssl.common.lock import INHERITED
from medssl.data import LoadCased, case_name
from medssl.data.preparing.phantom_set import write_phantoms, write_shapes
from medssl.protocol.running import job
from medssl.protocol.running.plan import PlannedRun
from tests.places import ROOT

BUNDLE = ROOT / "bundles" / "tcseg"
CONFIGS = BUNDLE / "configs"

TINY: dict[str, Any] = {
    "bundle_root": str(BUNDLE),
    "device": "$torch.device('cpu')",
    "labeled": 2,
    "validation": 1,
    "test": 2,
    "width": 2,
    "patch_size": [32, 32, 16],
    "stride": [16, 16, 16],
    "max_steps": 4,
    "steps_per_epoch": 2,
    "val_interval": 1,
    "warmup_share": 0.25,
    "cache_workers": 0,
    "amp": "off",
}


IMAGE_BUNDLE = ROOT / "bundles" / "natural_image"
TINY_IMAGES: dict[str, Any] = {
    "configs": IMAGE_BUNDLE / "configs",
    "bundle_root": str(IMAGE_BUNDLE),
    "device": "$torch.device('cpu')",
    "labeled": 3,
    "validation": 2,
    "test": 2,
    "patch_size": [32, 32],
    "labeled_per_batch": 2,
    "unlabeled_per_batch": 2,
    "max_steps": 4,
    "steps_per_epoch": 2,
    "pseudo_label_cases": 2,
    "cache_workers": 0,
}

CASE_COUNTS = ("labeled", "validation", "test")
# What remains where a datalist says the counts, and where a protocol says which bundle, device and count.
OWN_DATA = {name: value for name, value in TINY.items() if name not in CASE_COUNTS}
PROTOCOL_SETTINGS = {
    name: value for name, value in TINY.items() if name not in ("bundle_root", "device", "labeled")
}


def words_of(settings: dict[str, Any]) -> list[str]:
    """Settings as a command line says them."""
    return [word for name, value in settings.items() for word in (f"--{name}", str(value).replace(", ", ","))]


def workflow(
    files: list[str], kind: str = "train", *, configs: Path = CONFIGS, **settings: Any
) -> ConfigWorkflow:
    """A workflow of config files by name, with settings on top."""
    return ConfigWorkflow(
        config_file=[str(configs / name) for name in files],
        meta_file=str(configs / "metadata.json"),
        logging_file=None,
        workflow_type=kind,
        **settings,
    )


def run(files: list[str], kind: str = "train", **settings: Any) -> ConfigWorkflow:
    """Run it to the end."""
    flow = workflow(files, kind, **settings)
    flow.initialize()
    flow.run()
    flow.finalize()
    return flow


def refusal(files: list[str], kind: str = "train", **settings: Any) -> str:
    """The one line with which a workflow refuses."""
    with pytest.raises(RuntimeError) as caught:
        run(files, kind, **settings)
    error = find_input_error(caught.value)
    assert error is not None, caught.value
    assert "\n" not in str(error)
    return str(error)


@contextmanager
def stages_run_here() -> Iterator[None]:
    """The stages of a protocol's runs run in this process, which has imported everything already."""
    with pytest.MonkeyPatch.context() as patch:

        def run_stage(stage: job.Stage, planned: PlannedRun, lock: int, *_: Any) -> None:
            options = stage.command[stage.command.index("run") + 1 :]
            arguments = dict(
                zip((name.removeprefix("--") for name in options[::2]), options[1::2], strict=True)
            )
            patch.setenv(INHERITED, str(lock))
            monai.bundle.run(**arguments | {"config_file": yaml.safe_load(arguments["config_file"])})
            patch.delenv(INHERITED)
            assert stage.done()

        patch.setattr(job, "_run_stage", run_stage)
        yield


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    write_phantoms(folder, cases=7, seed=3, size=(40, 40, 32))
    return folder


@pytest.fixture(scope="session")
def trained(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished TCSeg run of four steps."""
    folder = tmp_path_factory.mktemp("runs") / "tcseg"
    run(
        ["train.yaml", "datasets/phantom.yaml", "methods/tcseg.yaml"],
        **{**TINY, "dataset_dir": str(phantoms), "run_dir": str(folder)},
    )
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_shapes(folder, cases=10, seed=3, size=(40, 52))
    return folder


def write_maps(data: Path, folder: Path, *, classes: int) -> Path:
    """Annotation maps of a data folder: every second pixel of its labels, with some noise."""
    rng = np.random.default_rng(0)
    load = LoadCased("label")
    for path in sorted((data / "labels").iterdir()):
        label = load.load_label([path]).as_tensor()[0].long()
        indicators = torch.nn.functional.one_hot(label.clamp_max(classes - 1), classes).movedim(-1, 0).float()
        coarse = indicators[(slice(None), *[slice(None, None, 2)] * label.ndim)].numpy()
        write_map(folder / f"{case_name(path)}.npz", softmax(4 * coarse + rng.normal(size=coarse.shape), 0))
    return folder


@pytest.fixture(scope="session")
def phantom_maps(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_maps(phantoms, tmp_path_factory.mktemp("data") / "phantom_maps", classes=2)


@pytest.fixture(scope="session")
def shape_maps(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_maps(shapes, tmp_path_factory.mktemp("data") / "shape_maps", classes=4)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Sums over two threads round otherwise than over one: every run of a comparison uses one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
