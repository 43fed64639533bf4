"""Pretrained weights: from a folder or the hub, refused where they do not fit, no part of a checkpoint."""

import builtins

import pytest
import torch
import transformers

from medssl.common.errors import InputError
from medssl.inference.description import build_network
from medssl.networks.images import backbones
from tests.networks.images.tiny import CLASSES, DESCRIPTIONS, DINOV2, MIT, RESNET, tiny

KINDS = {"DeepLabV3Plus": ("ResNet", RESNET), "DPT": ("Dinov2", DINOV2), "SegFormer": ("Segformer", MIT)}


def save_pretrained(name, folder, **changes):
    kind, config = KINDS[name]
    model = getattr(transformers, f"{kind}Model")(
        getattr(transformers, f"{kind}Config")(**{**config, **changes})
    )
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.add_(0.5)  # as after a training: statistics, too, are of the weights
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("name", KINDS)
def test_weights_come_from_a_folder(name, tmp_path):
    model = save_pretrained(name, tmp_path)
    network = tiny(name, weights=str(tmp_path))
    state, stored = network.backbone.state_dict(), model.state_dict()
    assert set(stored) - set(state) <= {"embeddings.mask_token"}
    assert state
    assert all(torch.equal(value, stored[key]) for key, value in state.items())
    assert network.backbone.training
    assert all(weight.dtype == torch.float32 for weight in network.parameters())


def test_half_precision_weights_are_trained_in_float32(tmp_path):
    save_pretrained("DPT", tmp_path).half().save_pretrained(tmp_path)
    assert tiny("DPT", weights=str(tmp_path)).backbone.layernorm.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("DeepLabV3Plus", {"depths": [1, 2, 2, 1]}),
        ("DeepLabV3Plus", {"depths": [1, 2, 2, 3]}),
        ("DeepLabV3Plus", {"hidden_sizes": [8, 16, 24, 40]}),
        ("DPT", {"num_hidden_layers": 5}),
        ("SegFormer", {"depths": [1, 1, 2, 1]}),
    ],
)
def test_weights_of_another_architecture_are_refused(name, changes, tmp_path):
    save_pretrained(name, tmp_path, **changes)
    with pytest.raises(InputError, match="are of another architecture than this") as refusal:
        tiny(name, weights=str(tmp_path))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("weights", ["nowhere", "./nowhere", "/no/such/folder", "a/b/c"])
def test_a_folder_that_there_is_not_is_refused(weights):
    with pytest.raises(
        InputError, match=f"weights {weights}: no such folder; give one that save_pretrained wrote"
    ):
        tiny("DPT", weights=weights)


def test_an_empty_folder_is_refused_in_one_line(tmp_path):
    with pytest.raises(
        InputError, match=r"cannot be had .*; download them where there is internet"
    ) as refusal:
        tiny("DPT", weights=str(tmp_path))
    assert "\n" not in str(refusal.value)


def test_a_folder_without_the_weights_themselves_is_refused_in_one_line(tmp_path):
    save_pretrained("DPT", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"cannot be had .*; download them where there is internet"
    ) as refusal:
        tiny("DPT", weights=str(tmp_path))
    assert "\n" not in str(refusal.value)


def test_a_hub_that_cannot_be_reached_is_refused_in_one_line(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("We couldn't connect to the hub.\nCheck your connection.")

    monkeypatch.setattr(transformers.utils, "cached_file", unreachable)
    with pytest.raises(
        InputError, match=r"weights someone/resnet: cannot be had \(We couldn't connect"
    ) as refusal:
        tiny("DeepLabV3Plus", weights="someone/resnet")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", KINDS)
def test_a_checkpoint_needs_no_pretrained_weights(name):
    torch.manual_seed(0)
    description = {
        "_target_": f"medssl.networks.{name}",
        "num_classes": 3,
        "weights": "someone/somewhere",
        **DESCRIPTIONS[name],
    }
    network = build_network(description, where="last.pt")
    assert type(network) is CLASSES[name]
    network.load_state_dict(tiny(name).state_dict())


def test_names_and_arguments_that_there_are_not_are_refused():
    with pytest.raises(InputError, match="size 'smal': no such name; did you mean 'small'"):
        CLASSES["DPT"](3, "smal")
    with pytest.raises(
        InputError, match="argument of Dinov2Config 'hiden_size': no such name; did you mean 'hidden_size'"
    ):
        CLASSES["DPT"](3, {"hiden_size": 8})
    with pytest.raises(InputError, match="ResNetConfig: refuses"):
        CLASSES["DeepLabV3Plus"](3, {"layer_type": "round"})


def test_a_missing_package_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name == "transformers":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="need the package transformers; pip install"):
        backbones.build_backbone("ResNet", RESNET, None)
