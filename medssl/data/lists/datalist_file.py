"""Reading and checking a datalist that a user wrote or that ``build_datalist`` made."""

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from medssl.common.errors import InputError, unknown_name
from medssl.data.lists.datalist import DATASETS, LISTS, Datalist, build_datalist, with_split_hash
from medssl.data.lists.layout import case_name
from medssl.data.reading.formats import strip_suffix
from medssl.data.reading.label_map import parse_label_map

logger = logging.getLogger(__name__)

UNLABELED_KEYS = ("case", "image", "roi", "patient")
"""All that an unlabelled item may carry; whatever else a file says of it is dropped."""

LABEL_REQUIRED = ("training", "validation")


def load_datalist(
    path: str | Path, base_dir: str | Path | None = None, *, refused: list[InputError] | None = None
) -> Datalist:
    """Read a MONAI datalist.

    Args:
        path: JSON file with ``training`` (items with ``image`` and ``label``) and optionally
            ``unlabeled``, ``validation``, ``test``. An unlabelled or test item may be a bare file name.
            An ``image`` may be a list of files, which become channels.
        base_dir: folder that relative file names start from; the folder of ``path`` by default.
        refused: takes the errors of faulty entries, which are then left out instead of raised.

    Returns:
        The datalist with all four lists, absolute file names and a ``case`` in every item (taken from
        the file name where the file does not give one). Unlabelled items hold ``case``, ``image``,
        ``roi`` and ``patient`` alone, whatever the file says. ``split_sha256`` is the hash of these lists,
        whatever the file claims; everything else beside the lists is kept as it is.

    Raises:
        InputError: the file is missing, not JSON, gives a key twice, or is no datalist.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict) or not content.get("training"):
        raise InputError(
            path, "has no 'training' list", 'a datalist reads {"training": [{"image": ..., "label": ...}]}'
        )
    base = Path(base_dir) if base_dir is not None else path.parent
    result: Datalist = {key: value for key, value in content.items() if key not in LISTS}
    for name in LISTS:
        entries = content.get(name) or []
        if not isinstance(entries, list):
            raise InputError(path, f"{name!r} is not a list", "write a list of items")
        result[name] = []
        for index, entry in enumerate(entries):
            try:
                result[name].append(_item(path, base, name, index, entry))
            except InputError as error:
                if refused is None:
                    raise
                refused.append(error)
    hidden = result.get("hidden_labels", {})
    if not isinstance(hidden, dict):
        raise InputError(path, "'hidden_labels' is not a mapping of case to file", "repair or remove it")
    try:
        parse_label_map(result.get("label_map"))
    except InputError as error:
        raise InputError(f"{path}: {error.where}", error.fault, error.remedy) from error
    result["hidden_labels"] = {case: _absolute(base, str(file)) for case, file in hidden.items()}
    dropped = sum(_drop_labels(item) for item in result["unlabeled"])
    if dropped:
        logger.info("%s: labels of %d unlabelled cases are ignored", path, dropped)
    _name_cases([item for name in LISTS for item in result[name]])
    return with_split_hash(result)


def training_datalist(
    datalist_file: str | Path | None,
    dataset_dir: str | Path | None,
    *,
    dataset: str,
    labeled: int | float | str | None = None,
    default_labeled: int | float | str | None = None,
    validation: int | float = 0,
    test: int | float = 0,
    split_seed: int = 0,
    allow_missing: bool = False,
    require_unlabeled: bool = True,
) -> Datalist:
    """The datalist of a training: the one in a file, or one that is built from a data folder.

    Args:
        datalist_file: read by :func:`load_datalist`; None builds one with
            :func:`medssl.data.build_datalist`, whose arguments the others are.
        dataset_dir: the data folder; with ``datalist_file`` the folder that its relative names start from,
            by default that of the file.
        dataset: see :func:`medssl.data.build_datalist`.
        labeled: likewise; None for ``default_labeled``. A file says by itself who is labelled: another number
            than its own is refused.
        default_labeled: the usual number of the data set, for lists that are built.
        validation: likewise; a file says it by itself.
        test: likewise; a file says it by itself.
        split_seed: seed of the random order (``custom``).
        allow_missing: see :func:`medssl.data.build_datalist`.
        require_unlabeled: refuse a list without an unlabelled case; False for supervised training.

    Raises:
        InputError: neither file nor folder, ``labeled`` contradicts the file, or what the two functions
            raise.
    """
    if datalist_file is None:
        if dataset_dir is None:
            raise InputError("dataset_dir", "is not given", "name the data folder, or a datalist_file")
        if dataset not in DATASETS:
            if get_close_matches(dataset, DATASETS, n=1, cutoff=0.8):
                raise unknown_name("dataset", dataset, DATASETS)
            fault = "has no list of cases of its own"
            remedy = "split it once with `medssl datalist` and give the file as --datalist_file"
            raise InputError(f"data set {dataset!r}", fault, remedy)
        return build_datalist(
            dataset_dir,
            dataset=dataset,
            labeled=default_labeled if labeled is None else labeled,
            validation=validation,
            test=test,
            seed=split_seed,
            allow_missing=allow_missing,
            require_unlabeled=require_unlabeled,
        )
    datalist = load_datalist(datalist_file, dataset_dir)
    count = len(datalist["training"])
    if labeled is not None and labeled != count:
        raise InputError(
            f"labeled={labeled}",
            f"{datalist_file} lists {count} labelled case{'s' * (count != 1)}, and a datalist decides",
            "leave it out, or correct the datalist",
        )
    if require_unlabeled and not datalist["unlabeled"]:
        raise InputError(
            datalist_file,
            "lists no unlabelled case",
            "add an 'unlabeled' list, or train the supervised method",
        )
    return datalist


def read_json(path: Path) -> Any:
    """The content of a datalist file; a key that one object gives twice is refused.

    Raises:
        InputError: the file is missing, not JSON, or gives a key twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if twice:
            # The json module keeps the last value and says nothing: half of a data set would be lost.
            raise InputError(path, f"gives the key {twice[0]!r} twice in one object", "keep one of them")
        return dict(pairs)

    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except FileNotFoundError as error:
        raise InputError(path, "no such file", "write one with `medssl datalist`") from error
    except IsADirectoryError as error:
        remedy = "name the datalist (JSON) that `medssl datalist` writes for it"
        raise InputError(path, "is a folder and no datalist", remedy) from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(path, f"is not valid JSON: {error.msg} at {where}", "repair that line") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"cannot be read ({error})", "see that it is a readable text file") from error
    except RecursionError as error:
        raise InputError(path, "is nested too deeply", "a datalist is an object of lists of items") from error


def files_of(item: Mapping[str, Any], key: str) -> Iterator[Path]:
    """The files of an item's ``image`` (one per channel) or ``label``; none where it lacks the key."""
    value = item.get(key, [])
    for file in [value] if isinstance(value, str) else value:
        yield Path(file)


def _item(path: Path, base: Path, name: str, index: int, entry: object) -> dict[str, Any]:
    """One checked item with absolute file names."""
    where = f"{path}: {name}[{index}]"
    if isinstance(entry, str) and name not in LABEL_REQUIRED:
        entry = {"image": entry}
    if not isinstance(entry, dict):
        raise InputError(where, "is not an item", 'write {"image": ..., "label": ...}')
    needed = ("image", "label") if name in LABEL_REQUIRED else ("image",)
    for key in needed:
        if not entry.get(key):
            raise InputError(where, f"has no {key!r}", f"add the {key} file")
    item = dict(entry)
    for key in ("image", "label"):
        if key not in item:
            continue
        value = item[key]
        if isinstance(value, str):
            item[key] = _absolute(base, value)
        elif key == "image" and isinstance(value, list) and all(isinstance(file, str) for file in value):
            item[key] = [_absolute(base, file) for file in value]
        else:
            raise InputError(where, f"{key!r} is not a file name", "write it as a string")
    return item


def _absolute(base: Path, file: str) -> str:
    return str((base / Path(file).expanduser()).absolute())


def _drop_labels(item: dict[str, Any]) -> bool:
    """Remove everything but :data:`UNLABELED_KEYS`; whether there was a label."""
    had_label = "label" in item
    for key in [key for key in item if key not in UNLABELED_KEYS]:
        del item[key]
    return had_label


def _name_cases(items: list[dict[str, Any]]) -> None:
    """Give every item a ``case``: its file's name, with the folders before it where files share a name."""
    unnamed = [item for item in items if "case" not in item]
    images = [Path(next(files_of(item, "image"))) for item in unnamed]
    counts = Counter(name for name, _ in {(case_name(image), image) for image in images})
    common = Path(os.path.commonpath([image.parent for image in images])) if images else Path()
    for item, image in zip(unnamed, images, strict=True):
        name = case_name(image)
        folders = image.parent.relative_to(common).parts
        item["case"] = name if counts[name] == 1 else "_".join((*folders, strip_suffix(image)))
    for item in items:
        if not isinstance(item["case"], str) or not item["case"]:
            raise InputError(f"case {item['case']!r}", "is no name", "write it as a string")
