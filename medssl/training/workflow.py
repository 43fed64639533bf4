"""A bundle's config files run in this process, as ``python -m monai.bundle run`` does in one of its own."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import ConfigWorkflow


def run_workflow(
    files: Sequence[str | Path], settings: Mapping[str, str], *, beside: Path | None = None
) -> list[Any]:
    """Initialise, run and finalise the workflow of config files.

    Args:
        files: config files, later ones over earlier ones.
        settings: over all files, as text from a command line; read as MONAI's command reads them.
        beside: folder with ``metadata.json`` and ``logging.conf``; by default that of the first file.

    Returns:
        What the expressions of its ``run`` gave.

    Raises:
        InputError: what the parts of the configuration refuse.
    """
    folder = beside or Path(files[0]).parent
    # It warns of overlays that lie elsewhere, which is what overlays are for.
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)
    workflow = ConfigWorkflow(
        config_file=[str(file) for file in files],
        meta_file=str(folder / "metadata.json"),
        logging_file=str(folder / "logging.conf") if (folder / "logging.conf").is_file() else False,
        **{name: DefaultParseValue(value) for name, value in settings.items()},
    )
    workflow.initialize()
    results: list[Any] = workflow.run()
    workflow.finalize()
    return results
