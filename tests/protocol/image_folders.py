"""Run folders of images without a training: what the scoring writes of probabilities that are made up."""

import json

import torch
from monai.data import MetaTensor

from medssl.common.run_folder import RunFolder
from tests.evaluation.image_scoring import scored
from tests.protocol.folders import write_run

CLASSES = 4


def images(count=8, *, skill=1.0, seed=0, hidden_class=False, names=None):
    """Images with class ids, and probabilities that know the more of them the higher the skill."""
    truth, noise = torch.Generator().manual_seed(99), torch.Generator().manual_seed(seed)
    made = []
    for index in range(count):
        size = (10 + index % 3, 12)
        labels = torch.randint(0, CLASSES - (index % 2), size, generator=truth)
        logits = torch.randn(CLASSES, *size, generator=noise)
        logits += skill * torch.nn.functional.one_hot(labels, CLASSES).permute(2, 0, 1)
        if hidden_class:
            logits[CLASSES - 1] = -20
        labels[0, :2] = 255
        reference = MetaTensor(labels[None].to(torch.uint8), meta={"filename_or_obj": f"{index}.png"})
        name = names[index] if names else f"image {index}"
        made.append(({"case": name, "reference": reference}, logits.softmax(0)))
    return made


def write_image_run(folder, *, dataset="toy_images", skill=1.0, gap=0.05, seed=1, count=8, **options):
    """Write one run; the skill of its best checkpoint is higher by ``gap``. The folder is returned.

    Args:
        folder: the run's folder.
        dataset: name of the data set.
        skill: see :func:`images`.
        gap: of best to last.
        seed: of the run, and of the noise of its probabilities.
        count: of the images.
        options: of :func:`images` (``hidden_class``, ``names``), or of
            :func:`tests.protocol.folders.write_run`.
    """
    own = {name: options.pop(name) for name in ("hidden_class", "names") if name in options}
    write_run(folder, dataset=dataset, seed=seed, dice_best=None, dice_last=None, **options)
    for checkpoint, more in (("best", gap), ("last", 0.0)):
        if checkpoint == "best" and options.get("selection") == "none":
            continue
        path = RunFolder(folder).scores(checkpoint)
        scored(path, images(count, skill=skill + more, seed=seed * 101, **own))
        record = json.loads((folder / "run.json").read_text())
        content = json.loads(RunFolder(folder).reliability(checkpoint).read_text())
        content["split_sha256"] = record["split_sha256"]
        RunFolder(folder).reliability(checkpoint).write_text(json.dumps(content))
    return folder
