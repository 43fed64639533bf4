"""Files that come with the package: bundles, protocols and published case lists."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# In a wheel they lie inside the package (pyproject.toml says where each comes from); in a checkout beside it.
_IN_CHECKOUT = {"bundles": "bundles", "protocols": "scripts/protocols", "data_splits": "data_splits"}


def resource_folder(name: str) -> Path:
    """Folder of ``"bundles"``, ``"protocols"`` or ``"data_splits"``, in a wheel as in a checkout."""
    packaged = _PACKAGE / "resources" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / _IN_CHECKOUT[name]
