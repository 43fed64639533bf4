"""Real model classes of transformers with random weights, loaded from a folder as published ones are."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessorPil

from medssl.annotators import parse_classes
from medssl.annotators.text_prompted import ImageInput, TextPrompted
from medssl.common.errors import InputError
from tests.annotators.tiny import SIZE, save_model

CLASSES = "background; dog, cat; tree; car"
GRID = {"clipseg": (32, 32), "sam3": (16, 16)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights")
    for name in SIZE:
        (path / name).mkdir()
        save_model(name, path / name)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)).save(
        path / "a.png"
    )
    return path


def annotator(folder, name, classes=CLASSES, **options):
    return TextPrompted(name, parse_classes(classes), weights=str(folder / name), **options)


@pytest.mark.parametrize("name", SIZE)
def test_maps_are_probabilities_of_the_classes(folder, name):
    model = annotator(folder, name)
    assert model.classes == ("background", "dog", "tree", "car")
    probs = model.annotate(folder / "a.png")
    assert probs.dtype == np.float32
    assert probs.shape == (4, *GRID[name])
    np.testing.assert_allclose(probs.sum(0), 1, atol=1e-5)
    assert probs.min() >= 0
    assert probs.std((1, 2)).min() > 0


@pytest.mark.parametrize("name", SIZE)
def test_prompts_in_parts_are_prompts_at_once(folder, name):
    maps = [annotator(folder, name, prompts_at_once=count).annotate(folder / "a.png") for count in (1, 3, 9)]
    np.testing.assert_allclose(maps[0], maps[2], atol=1e-5)
    np.testing.assert_allclose(maps[1], maps[2], atol=1e-5)


def own_inputs(model):
    """Prompts with a copy of the image for each, as the model's own forward takes them."""
    pixels = model.image_input(model._pixels(model.image))
    count = len(model.prompts)
    return {"pixel_values": pixels.expand(count, -1, -1, -1), **model._tokens}


@torch.inference_mode()
def test_clipseg_scores_are_those_of_its_own_forward(folder):
    model = annotator(folder, "clipseg")
    model.image = folder / "a.png"
    inputs = own_inputs(model)
    expected = model.model(**inputs).logits.sigmoid()
    actual = torch.cat(model._clipseg_scores(inputs["pixel_values"][:1]))
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-5)
    assert (actual[0] - actual[1]).abs().max() > 0.01


@torch.inference_mode()
def test_sam3_scores_are_made_of_its_own_outputs(folder):
    model = annotator(folder, "sam3")
    model.image = folder / "a.png"
    inputs = own_inputs(model)
    outputs = model.model(**inputs)
    expected = []
    for prompt in range(len(model.prompts)):
        score = outputs.semantic_seg[prompt, 0].sigmoid()
        for query in range(outputs.pred_masks.shape[1]):
            confidence = outputs.pred_logits[prompt, query].sigmoid()
            score = torch.maximum(score, outputs.pred_masks[prompt, query].sigmoid() * confidence)
        expected.append(score * outputs.presence_logits[prompt, 0].sigmoid())
    actual = torch.cat(model._sam3_scores(inputs["pixel_values"][:1]))
    torch.testing.assert_close(actual, torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_images_are_prepared_as_transformers_does():
    pixels = np.random.default_rng(1).integers(0, 255, (47, 61, 3)).astype(np.uint8)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    processor = ViTImageProcessorPil(size={"height": 32, "width": 24}, image_mean=mean, image_std=std)
    expected = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    actual = ImageInput((32, 24), tuple(mean), tuple(std))(pixels)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_grey_images_are_annotated_and_others_refused(folder, tmp_path):
    model = annotator(folder, "clipseg")
    grey = np.random.default_rng(2).integers(0, 255, (30, 30)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.repeat(grey[..., None], 3, -1)).save(tmp_path / "color.png")
    assert np.array_equal(model.annotate(tmp_path / "grey.png"), model.annotate(tmp_path / "color.png"))
    (tmp_path / "text.png").write_text("hello")
    for image in ("text.png", "absent.png"):
        with pytest.raises(InputError, match=image):
            model.annotate(tmp_path / image)
    two = [str(tmp_path / "grey.png")] * 2
    with pytest.raises(InputError, match="is no photograph"):
        model.annotate(two)


def test_record_tells_weights_apart(folder, tmp_path):
    first = annotator(folder, "clipseg").record
    assert first == annotator(folder, "clipseg").record
    assert first["prompts"] == {"background": [], "dog": ["dog", "cat"], "tree": ["tree"], "car": ["car"]}
    (tmp_path / "clipseg").mkdir()
    save_model("clipseg", tmp_path / "clipseg", seed=1)
    assert annotator(tmp_path, "clipseg").record["weights_version"] != first["weights_version"]


def test_weights_that_cannot_be_had_are_refused_in_one_line(folder, tmp_path):
    with pytest.raises(InputError, match="are of a model of type sam3, not of clipseg"):
        TextPrompted("clipseg", parse_classes(CLASSES), weights=str(folder / "sam3"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot be had") as refusal:
        TextPrompted("clipseg", parse_classes(CLASSES), weights=str(tmp_path / "empty"))
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="longer than the 16 tokens"):
        annotator(folder, "clipseg", "background; dog; supercalifragilistic")
    with pytest.raises(InputError, match="below 1"):
        annotator(folder, "clipseg", prompts_at_once=0)
