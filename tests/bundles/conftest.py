"""A tiny phantom set, and the bundle's configs run inside this process."""

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow

from medssl.data.preparing.phantom_set import write_phantoms
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


def workflow(files: list[str], kind: str = "train", **settings: Any) -> ConfigWorkflow:
    """A workflow of config files by name, with settings on top."""
    return ConfigWorkflow(
        config_file=[str(CONFIGS / name) for name in files],
        meta_file=str(CONFIGS / "metadata.json"),
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


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Sums over two threads round otherwise than over one: every run of a comparison uses one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
