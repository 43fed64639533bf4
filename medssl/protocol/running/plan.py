"""A protocol file, and the runs that it asks for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from medssl.common.bundles import EVALUATE, TRAIN, Bundle, find_bundle, read_config
from medssl.common.errors import InputError, unknown_name
from medssl.common.resources import resource_folder
from medssl.common.run_folder import RunFolder
from medssl.data import load_datalist

KEYS = ("name", "about", "bundle", "datasets", "methods", "overrides", "seeds", "settings", "minutes")
PART_KEYS = ("files", "settings", "minutes")
DATASET_KEYS = (*PART_KEYS, "labeled", "datalist")


@dataclass(frozen=True)
class PlannedRun:
    """One training with its evaluation.

    Attributes:
        folder: the run's folder; its name tells data set, setting, labelled count and seed.
        bundle: folder of the MONAI bundle.
        files: config files of the data set and the method, relative to the bundle's ``configs``; absolute
            where they are not of the bundle.
        settings: what overrides them, by the bundle's ids (``a::b`` for a nested one).
        setting: the row of the table that the run belongs to.
        dataset: name of the data set in the protocol file.
        labeled: labelled cases, or their fraction.
        seed: the seed.
        minutes: what the protocol file expects of a run like this; None where it says nothing.
    """

    folder: Path
    bundle: Path
    files: tuple[str, ...]
    settings: Mapping[str, Any]
    setting: str
    dataset: str
    labeled: int | float
    seed: int
    minutes: float | None = None

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def training_files(self) -> list[str]:
        """Config files of the training, the run's own settings last."""
        configs = self.bundle / "configs"
        return [str(configs / name) for name in (TRAIN, *self.files)] + [str(self.settings_file)]

    @property
    def scoring_files(self) -> list[str]:
        """Config files of a scoring: what the run was trained with, and settings that are of the scoring."""
        trained = RunFolder(self.folder).config
        return [str(trained), str(self.bundle / "configs" / EVALUATE), str(self.settings_file)]

    @property
    def settings_file(self) -> Path:
        """``settings.yaml`` in the run's folder: the overlay with :attr:`settings`."""
        return self.folder / "settings.yaml"

    def settings_text(self) -> str:
        """Contents of :attr:`settings_file`."""
        head = f"# {self.setting}: settings of this run over {', '.join((TRAIN, *self.files))}\n"
        return head + yaml.safe_dump(dict(self.settings), sort_keys=True, allow_unicode=True)


@dataclass(frozen=True)
class Protocol:
    """A protocol file.

    Attributes:
        path: the file.
        name: its ``name``, by default that of the file.
        bundle: folder of the bundle.
        datasets: config files, settings, labelled counts, datalist (a path or None) and minutes by name.
        methods: config files, settings and minutes by the name of the row.
        overrides: settings that are crossed with all methods, by a name that is added to the row's.
        seeds: one run of each.
        settings: of all runs.
        minutes: expected of a run.
    """

    path: Path
    name: str
    bundle: Path
    datasets: Mapping[str, Mapping[str, Any]]
    methods: Mapping[str, Mapping[str, Any]]
    overrides: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    minutes: float | None = None


def read_protocol(path: str | Path) -> Protocol:
    """Read a protocol file.

    Args:
        path: the file, or the name of one that comes with the package, such as ``la``.

    Raises:
        InputError: missing, not YAML, an unknown key, an overlay that the bundle has not, a datalist that
            cannot be read, or nothing to run.
    """
    path = Path(path)
    packaged = resource_folder("protocols") / f"{path}.yaml"
    if not path.exists() and packaged.is_file():
        path = packaged
    if not path.exists():
        remedy = f"give a file, or one of {', '.join(protocol_names())}"
        raise InputError(path, "no such protocol file", remedy)
    content = read_config(path)
    _refuse_unknown(path, content, KEYS)
    try:
        bundle = find_bundle(str(content.get("bundle", "tcseg")), beside=path.parent)
    except InputError as error:
        raise InputError(path, f"{error.where}: {error.fault}", error.remedy) from error
    parts: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in ("datasets", "methods"):
        named = content.get(kind)
        if not isinstance(named, dict) or not named:
            raise InputError(path, f"no {kind}", f"list at least one under {kind}")
        parts[kind] = {str(name): _part(path, bundle, kind, name, part) for name, part in named.items()}
    for name, part in parts["datasets"].items():
        if not part["labeled"]:
            raise InputError(path, f"data set {name} names no labelled count", "add labeled: [8], say")
    seeds = content.get("seeds")
    integers = isinstance(seeds, list) and all(isinstance(s, int) and not isinstance(s, bool) for s in seeds)
    if not seeds or not integers or len(set(seeds)) < len(seeds):
        raise InputError(path, f"seeds are {seeds!r}", "give distinct whole numbers, such as [1, 2, 3, 4, 5]")
    overrides = content.get("overrides") or {"": {}}
    for name, override in overrides.items():
        if not isinstance(override, dict):
            raise InputError(path, f"override {name!r} is no mapping", "give settings by name")
    return Protocol(
        path=path,
        name=str(content.get("name", path.stem)),
        bundle=bundle.path,
        datasets=parts["datasets"],
        methods=parts["methods"],
        overrides={str(name): override for name, override in overrides.items()},
        seeds=tuple(seeds),
        settings=_mapping(path, "settings", content.get("settings")),
        minutes=content.get("minutes"),
    )


def plan_runs(
    protocol: Protocol,
    runs: str | Path,
    *,
    dataset_dirs: Mapping[str, str] | None = None,
    datalists: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[PlannedRun]:
    """All runs of a protocol, seed by seed, so that what is cut short still holds every setting.

    Args:
        protocol: from :func:`read_protocol`.
        runs: folder of the run folders.
        dataset_dirs: data folders by the protocol's names of the data sets.
        datalists: datalists likewise, instead of the protocol's own.
        settings: override everything else.

    Raises:
        InputError: a data set without a folder or datalist, an unknown data set, or two runs of one name.
    """
    dataset_dirs, datalists = dict(dataset_dirs or {}), dict(datalists or {})
    for name in (*dataset_dirs, *datalists):
        if name not in protocol.datasets:
            raise unknown_name("data set", name, tuple(protocol.datasets))
    planned: dict[str, PlannedRun] = {}
    for seed, (dataset, data), (method, how), (override, more) in product(
        protocol.seeds, protocol.datasets.items(), protocol.methods.items(), protocol.overrides.items()
    ):
        for labeled in data["labeled"]:
            setting = f"{method} {override}".strip()
            merged = {**protocol.settings, **data["settings"], **how["settings"], **more, **(settings or {})}
            folder = dataset_dirs.get(dataset, merged.get("dataset_dir"))
            datalist = datalists.get(dataset, data["datalist"])
            if folder is None and datalist is None:
                raise InputError(
                    protocol.path,
                    f"no folder for data set {dataset}",
                    f"add --dataset-dir {dataset}=FOLDER or --datalist {dataset}=FILE",
                )
            name = f"{slug(dataset)}-{slug(setting)}-labeled{labeled}-seed{seed}"
            if name in planned:
                raise InputError(protocol.path, f"two runs are called {name}", "tell their settings apart")
            path = (Path(runs) / name).absolute()
            if folder is not None:
                merged["dataset_dir"] = str(Path(folder).absolute())
            if datalist is not None:
                merged["datalist_file"] = str(Path(datalist).absolute())
            merged["run_dir"] = str(path)
            merged |= {"setting": setting, "labeled": labeled, "seed": seed}
            planned[name] = PlannedRun(
                folder=path,
                bundle=protocol.bundle,
                files=(*data["files"], *how["files"]),
                settings=merged,
                setting=setting,
                dataset=dataset,
                labeled=labeled,
                seed=seed,
                minutes=how["minutes"] or data["minutes"] or protocol.minutes,
            )
    return list(planned.values())


def slug(text: str) -> str:
    """Text as part of a file's name: ``w/o U(v)`` becomes ``w-o-u-v``."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def protocol_names() -> list[str]:
    """Names of the protocols that come with the package."""
    return sorted(path.stem for path in resource_folder("protocols").glob("*.yaml"))


def _part(path: Path, bundle: Bundle, kind: str, name: Any, content: Any) -> dict[str, Any]:
    part = _mapping(path, f"{kind}: {name}", content)
    _refuse_unknown(path, part, DATASET_KEYS if kind == "datasets" else PART_KEYS)
    files = []
    for file in part.get("files") or []:
        own = path.parent / file
        in_bundle = (bundle.path / "configs" / file).is_file()
        if not in_bundle and not own.is_file():
            fault = f"{name}: the bundle has no configs/{file}, and there is no {own}"
            raise InputError(path, fault, "name one of its overlays, or a file from here")
        files.append(str(file) if in_bundle else str(own.absolute()))
    labeled = part.get("labeled") or []
    datalist = None
    if part.get("datalist") is not None:
        datalist = (path.parent / Path(str(part["datalist"])).expanduser()).absolute()
        labeled = labeled or len(load_datalist(datalist)["training"])
    return {
        "files": tuple(files),
        "settings": _mapping(path, f"settings of {name}", part.get("settings")),
        "labeled": list(labeled) if isinstance(labeled, Sequence) else [labeled],
        "datalist": datalist,
        "minutes": part.get("minutes"),
    }


def _mapping(path: Path, what: str, content: Any) -> dict[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(path, f"{what} is no mapping", "give names and values")
    return {str(name): value for name, value in content.items()}


def _refuse_unknown(path: Path, content: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in content:
        if key not in known:
            error = unknown_name("key", str(key), known)
            raise InputError(path, error.fault, error.remedy)
