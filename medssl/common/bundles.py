"""What a bundle offers, read as text: its config files by name, and the options that they have."""

import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from medssl.common.errors import InputError, unknown_name
from medssl.common.resources import resource_folder

TRAIN, EVALUATE, ROBUSTNESS = "train.yaml", "evaluate.yaml", "robustness.yaml"
KINDS = {"datasets": "data set", "methods": "method", "networks": "network", "selectors": "selector"}
"""Folders of overlays, and what one of them is."""
DEFAULT = "tcseg"

# Sections that MONAI runs and nobody sets.
_SECTIONS = ("imports", "initialize", "run", "finalize")


@dataclass(frozen=True)
class Bundle:
    """A folder with the config files of a MONAI bundle.

    Attributes:
        path: the folder.
    """

    path: Path

    def config(self, name: str) -> Path:
        """A config file by its name below ``configs``, such as ``"datasets/la.yaml"``.

        Raises:
            InputError: the bundle has none.
        """
        path = self.path / "configs" / name
        if not path.is_file():
            raise InputError(self.path, f"the bundle has no configs/{name}", "name one of its files")
        return path

    def overlays(self, kind: str) -> list[str]:
        """Names of the overlays of a kind (:data:`KINDS`)."""
        return sorted(path.stem for path in (self.path / "configs" / kind).glob("*.yaml"))

    def overlay(self, kind: str, name: str) -> Path:
        """An overlay by its name in the bundle, or a file of the user's by its path.

        Raises:
            InputError: neither; the nearest name is suggested.
        """
        if is_overlay_file(name):
            if not Path(name).is_file():
                raise InputError(name, "no such file", f"name a file, or one of {self._listed(kind)}")
            return Path(name).absolute()
        if name not in self.overlays(kind):
            raise unknown_name(KINDS[kind], name, self.overlays(kind))
        return self.config(f"{kind}/{name}.yaml")

    def _listed(self, kind: str) -> str:
        return ", ".join(self.overlays(kind))


def is_overlay_file(name: str) -> bool:
    """Whether a word is the path of an overlay, and not the name of one."""
    return Path(name).suffix in (".yaml", ".yml")


def bundle_names() -> list[str]:
    """Names of the bundles that come with the package."""
    return sorted(path.parents[1].name for path in resource_folder("bundles").glob(f"*/configs/{TRAIN}"))


def find_bundle(name: str | Path, *, beside: Path | None = None) -> Bundle:
    """The bundle of that name in the package, or in the folder of that path.

    Args:
        name: name, or path of a folder.
        beside: folder from which a relative path starts; by default the current one.

    Raises:
        InputError: neither.
    """
    if str(name) in bundle_names():
        return Bundle(resource_folder("bundles") / str(name))
    folder = ((beside or Path.cwd()) / Path(name).expanduser()).resolve()
    if (folder / "configs" / TRAIN).is_file():
        return Bundle(folder)
    if folder.is_dir() or "/" in str(name):
        raise InputError(folder, f"bundle has no configs/{TRAIN}", "name a bundle, or its folder")
    raise unknown_name("bundle", str(name), bundle_names())


def bundle_with(dataset: str | None = None) -> Bundle:
    """The bundle of the package that alone has a data set; :data:`DEFAULT` where none or several have it.

    Args:
        dataset: as :func:`training_files` takes it; None for none.

    Raises:
        InputError: a name that no bundle has.
    """
    bundles = [find_bundle(name) for name in bundle_names()]
    having = [bundle for bundle in bundles if dataset in bundle.overlays("datasets")]
    is_name = dataset is not None and not is_overlay_file(dataset) and not _is_datalist(dataset)
    if dataset is not None and is_name and not having:
        known = {name for bundle in bundles for name in bundle.overlays("datasets")}
        raise unknown_name(KINDS["datasets"], dataset, known)
    return having[0] if len(having) == 1 else find_bundle(DEFAULT)


def _is_datalist(dataset: str) -> bool:
    return Path(dataset).suffix.lower() == ".json"


def bundle_of_run(settings: Mapping[str, Any], name: str | None = None) -> Bundle:
    """The bundle that a run was trained with, or the package's where that has gone.

    Args:
        settings: of the run (``config.yaml``).
        name: name or path of another one.

    Raises:
        InputError: no bundle of that name.
    """
    if name is not None:
        return find_bundle(name)
    trained_with = Path(str(settings.get("bundle_root", "")))
    if (trained_with / "configs" / EVALUATE).is_file():
        return Bundle(trained_with.resolve())
    packaged = trained_with.name in bundle_names()
    return find_bundle(trained_with.name if packaged else DEFAULT)


def copy_bundle(name: str, out: str | Path) -> None:
    """Copy a bundle to a folder of one's own.

    Raises:
        InputError: no such bundle; something is at ``out`` already.
    """
    source, target = find_bundle(name).path, Path(out).absolute()
    if target.exists():
        raise InputError(target, "exists already", "choose another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=".tmp-") as temporary:
        copied = shutil.copytree(source, Path(temporary) / target.name)
        copied.rename(target)


def read_config(path: str | Path) -> dict[str, Any]:
    """The settings of a config file, unevaluated.

    Raises:
        InputError: missing, no YAML, or no mapping.
    """
    import yaml  # late: half of what a command's --help takes

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(path, f"cannot be read ({' '.join(str(error).split())})", "correct it") from error
    if not isinstance(content, dict):
        raise InputError(path, "is no mapping of settings", "write NAME: VALUE lines")
    return content


def option_lines(path: str | Path) -> str:
    """The options of a config file as they stand there, with their defaults and what they mean.

    They are the paragraphs after the first, which imports, up to the one with a part (``{_target_: ...}``).
    """
    _, *paragraphs = Path(path).read_text(encoding="utf-8").strip().split("\n\n")
    return "\n\n".join(takewhile(lambda paragraph: "{_target_" not in paragraph, paragraphs))


def refuse_unread(options: Iterable[str], files: Sequence[str | Path]) -> None:
    """Refuse an option whose first part (``a`` of ``a::b``) no config file has.

    Looks at text alone, so that a misspelt option is refused at once. What the parts of a configuration take
    is known when they are imported, and looked at then.

    Args:
        options: names of options.
        files: config files.

    Raises:
        InputError: the first such option, with the nearest name; or one (``a::b``) whose first part is a
            plain value, in which nothing can be set.
    """
    config = {str(key).lstrip("+"): value for file in files for key, value in read_config(file).items()}
    known = {key.split("::")[0] for key in config} - set(_SECTIONS)
    for option in options:
        name, *inner = option.split("::")
        if name not in known:
            raise unknown_name("option", option, known)
        if inner and not isinstance(config.get(name, {}), Mapping | list):
            remedy = f"set it as a whole: --{name} '{{_target_: CLASS, ...}}'"
            raise InputError(f"option {option}", f"{name} has no parts: it is {config[name]}", remedy)


def training_files(
    bundle: Bundle, dataset: str, method: str, *, network: str | None = None, selector: str | None = None
) -> tuple[list[Path], dict[str, str]]:
    """The config files of a training, and the settings that its data set brings.

    Args:
        bundle: the bundle.
        dataset: overlay by name or path, or a datalist (``d.json``), which is trained as ``custom``.
        method: overlay by name or path.
        network: likewise; None for the data set's.
        selector: likewise, or what the option ``selector`` takes (``null``, or a ``_target_`` and
            arguments in braces), which then is one of the settings; None for the method's.

    Raises:
        InputError: one of them is neither; a selector for a method that takes none.
    """
    settings = {}
    if _is_datalist(dataset):
        if not Path(dataset).is_file():
            raise InputError(dataset, "no such datalist", "medssl datalist writes one")
        dataset, settings = "custom", {"datalist_file": str(Path(dataset).absolute())}
    if selector is not None and (selector.startswith(("{", "$", "@")) or selector.lower() == "null"):
        settings["selector"], selector = selector, None
    chosen = [("datasets", dataset), ("methods", method), ("networks", network), ("selectors", selector)]
    files = [bundle.config(TRAIN), *(bundle.overlay(kind, name) for kind, name in chosen if name)]
    if selector is not None and not _takes_selector(files):
        raise InputError(f"--selector {selector}", f"{method} believes no pseudo-labels", "leave it out")
    return files, settings


def _takes_selector(files: Sequence[Path]) -> bool:
    """Whether the options of the method, as the last file sets them, name the selector."""
    options = [
        content["method_options"] for content in map(read_config, files) if "method_options" in content
    ]
    return not options or "@selector" in str(options[-1])


def monai_command(files: Sequence[str | Path], settings: Mapping[str, Any]) -> str:
    """The same run as a command line of MONAI's, quoted for a shell."""
    names = "[" + ",".join(repr(str(file)) for file in files) + "]"
    words = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    return f'python -m monai.bundle run --config_file "{names}" {shlex.join(words)}'
