"""The guide's own commands and its Python, as they stand, on tiny data."""

import json
import re
import shlex

import numpy as np
from PIL import Image

from medssl.annotators import MapFolder
from medssl.cli import main
from tests.annotators.tiny import save_model
from tests.places import ROOT


def test_the_guide_runs(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "annotators.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    lists = {"training": [], "test": []}
    for folder in ("IMAGES", "LABELS", "WEIGHTS"):
        (tmp_path / folder).mkdir()
    save_model("clipseg", tmp_path / "WEIGHTS")
    for number in range(4):
        pixels = random.integers(0, 255, (32, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(f"IMAGES/c{number}.png")
        Image.fromarray((pixels[..., 0] // 86).astype(np.uint8)).save(f"LABELS/c{number}.png")
        item = {"image": f"IMAGES/c{number}.png", "label": f"LABELS/c{number}.png"}
        lists["training" if number < 2 else "test"].append(item)
    (tmp_path / "d.json").write_text(json.dumps({**lists, "classes": ["background", "dog", "cat"]}))
    annotate, report = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    assert main(shlex.split(annotate)[1:]) == 0
    assert MapFolder("MAPS", num_classes=3).read("IMAGES/c0.png").shape == (3, 32, 32)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "annotators.md", "exec"), {})
    assert MapFolder("MAPS", num_classes=3).read("IMAGES/c0.png").shape == (3, 8, 10)
    assert main(shlex.split(report)[1:]) == 0
    assert (tmp_path / "REPORT" / "coverage.png").is_file()
    assert (tmp_path / "REPORT" / "annotator.csv").is_file()
