"""What ``pip install medssl`` brings."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.places import ROOT

RESOURCES = ("bundles", "protocols", "data_splits")

# The folder of every resource, and the files in it, as an interpreter sees them that has the package alone.
LISTED = f"""
import json
import medssl
from medssl.common.bundles import bundle_names
from medssl.common.resources import resource_folder

folders = {{name: resource_folder(name) for name in {RESOURCES}}}
files = {{
    name: sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    for name, folder in folders.items()
}}
print(json.dumps([medssl.__file__, str(folders["bundles"]), bundle_names(), files]))
"""


def listed(folder, path):
    """What LISTED prints in an empty folder, with one entry of the user's on Python's path."""
    done = subprocess.run(
        [sys.executable, "-c", LISTED],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(path)},
        stdout=subprocess.PIPE, encoding="utf-8", check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The files of the wheel, without its dependencies."""
    pytest.importorskip(
        "hatchling", reason="hatchling, which builds the wheel, is not installed (extra: dev)"
    )
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-c", build, str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=True,
    )  # fmt: skip
    with zipfile.ZipFile(folder / built.stdout.split()[-1]) as wheel:
        wheel.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.mark.slow
def test_the_wheel_alone_has_every_bundle_protocol_and_case_list(unpacked, tmp_path):
    package, bundles, names, files = listed(tmp_path, unpacked)
    assert Path(package) == unpacked / "medssl/__init__.py"
    assert Path(bundles) == unpacked / "medssl/resources/bundles"
    assert [names, files] == listed(tmp_path, ROOT)[2:]
    assert all(files[name] for name in RESOURCES)


@pytest.mark.slow
def test_the_wheel_holds_the_package_with_its_types_and_no_tests(unpacked):
    package = unpacked / "medssl"
    code = {path.relative_to(package) for path in package.rglob("*.py")}
    assert code == {path.relative_to(ROOT / "medssl") for path in (ROOT / "medssl").rglob("*.py")}
    assert (package / "py.typed").is_file()
    assert sorted(path.name.split("-")[0] for path in unpacked.iterdir()) == ["medssl", "medssl"]
