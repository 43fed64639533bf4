"""A checkpoint's description is data: it builds what it names and runs nothing."""

import os

import pytest
import torch
import yaml
from torch import nn

from medssl.common.errors import InputError
from medssl.inference.deployment import load_deployment
from medssl.inference.description import (
    PLAIN_TRANSFORMS,
    build_network,
    build_preprocessing,
    read_description,
    transform_class,
)
from medssl.networks import Adapted, DualDecoderVNet, VNet

META = {
    "method": "Supervised",
    "network": {"_target_": "medssl.networks.VNet", "width": 2},
    "preprocessing": [
        {"name": "LoadCased", "arguments": {"keys": ["image", "label"]}},
        {"name": "CropAboveMinimumd", "arguments": {"keys": ["image"], "source_key": "image"}},
        {"name": "NormalizeIntensityd", "arguments": {"keys": "image"}},
    ],
    "num_classes": 2,
    "patch_size": [16, 16, 16],
    "stride": [8, 8, 8],
    "orientation": "RAS",
    "spacing": [1.0, 1.0, 1.0],
    "amp": "off",
    "channels_last": True,
    "class_names": ["atrium"],
}
SEGRESNET = {
    "_target_": "medssl.networks.Adapted",
    "patch_multiple": 8,
    "network": {"_target_": "monai.networks.nets.SegResNet", "init_filters": 8, "out_channels": 2},
}


def save(path, meta, network=None):
    state = (network or VNet(width=2)).state_dict()
    empty = {key: {} for key in ("method", "optimizer", "scheduler", "scaler", "rng", "best")}
    progress = {"step": 2, "epoch": 1, "steps_per_epoch": 2}
    torch.save({**empty, "network": state, "deployed": state, "progress": progress, "meta": meta}, path)
    return path


def test_a_model_is_built_from_its_description(tmp_path):
    network = VNet(width=2)
    deployment = load_deployment([save(tmp_path / "last.pt", META, network)])
    assert type(deployment.networks[0]) is VNet
    assert all(map(torch.equal, deployment.networks[0].state_dict().values(), network.state_dict().values()))
    names = [type(step).__name__ for step in deployment.transform.transforms]
    assert names == ["LoadCased", "Orientd", "CropAboveMinimumd", "NormalizeIntensityd"]
    assert deployment.description.stride == (8, 8, 8)
    assert deployment.predictor(device="cpu").patch == (16, 16, 16)


def test_networks_stand_in_networks():
    network = build_network(SEGRESNET, where="last.pt")
    assert isinstance(network, Adapted)
    assert type(network.network).__name__ == "SegResNet"
    assert network.patch_multiple == 8


def test_every_transform_of_the_list_is_there():
    assert all(callable(transform_class(name, where="last.pt")) for name in PLAIN_TRANSFORMS)


def places_of(value, path=()):
    """Every place of nested plain data, itself included."""
    yield path
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield from places_of(entry, (*path, key))


def planted(value, path, seed):
    if not path:
        return seed
    entries = dict(value) if isinstance(value, dict) else list(value)
    entries[path[0]] = planted(value[path[0]], path[1:], seed)
    return entries


@pytest.mark.parametrize("kind", ["expression", "component", "shell in the network"])
def test_nothing_planted_in_any_field_runs(tmp_path, kind, monkeypatch):
    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    seed = {
        "expression": "$__import__('os').system('true')",
        "component": {"_target_": "os.system", "command": "true"},
        "shell in the network": {"_target_": "medssl.networks.vnet.nn.modules.os.system", "command": "true"},
    }[kind]
    meta = {**META, "network": SEGRESNET}
    network = build_network(SEGRESNET, where="last.pt")
    count = 0
    for place in places_of(meta):
        if not place:
            continue
        path = save(tmp_path / "last.pt", planted(meta, place, seed), network)
        with pytest.raises(InputError, match=r"last\.pt: ") as caught:
            load_deployment([path])
        assert "\n" not in str(caught.value)
        count += 1
    assert count > 25
    assert not ran


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("os.system", "not trusted"),
        ("monai.bundle.run", "not trusted"),
        ("medssl.cli.main", "not trusted"),
        ("medssl.networks.check_patch_size", "is no Module here"),
        ("medssl.networks.Nothing", "is no Module here"),
        ("medssl.networks.vnet.nn.Linear", "is of torch"),
        ("monai.networks.nets.UNet", "cannot be built"),
        ("medssl.networks.Deployed", "cannot be built"),
    ],
)
def test_what_is_no_trusted_network_is_refused_in_one_line(target, fault):
    with pytest.raises(InputError, match=fault) as caught:
        build_network({"_target_": target}, where="last.pt")
    assert "\n" not in str(caught.value)


def test_a_bare_network_of_monais_is_told_to_be_wrapped():
    with pytest.raises(InputError, match="wrap it in Adapted"):
        build_network(SEGRESNET["network"], where="last.pt")


def test_networks_and_transforms_of_ones_own_are_imported_where_one_says_so(tmp_path, monkeypatch):
    (tmp_path / "homemade.py").write_text(
        "from monai.transforms import MapTransform\nfrom medssl.networks import VNet\n"
        "open(__file__ + '.ran', 'w').close()\n"
        "class Mine(VNet):\n    pass\n"
        "class Halved(MapTransform):\n    def __call__(self, data):\n        return data\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = {"_target_": "homemade.Mine", "width": 2}
    steps = [META["preprocessing"][0], {"name": "homemade.Halved", "arguments": {"keys": "image"}}]
    path = save(tmp_path / "last.pt", {**META, "network": own, "preprocessing": steps})
    with pytest.raises(InputError, match="if you trust it, add --allow homemade"):
        load_deployment([path])
    assert not (tmp_path / "homemade.py.ran").exists()
    deployment = load_deployment([path], allow="homemade")
    assert type(deployment.networks[0]).__name__ == "Mine"
    assert type(deployment.transform.transforms[-1]).__name__ == "Halved"


@pytest.mark.parametrize("name", ["Lambdad", "RandFlipd", "NormalizeIntensity"])
def test_a_transform_that_is_not_listed_is_refused(name):
    with pytest.raises(InputError, match="no such name"):
        build_preprocessing([{"name": name, "arguments": {}}], None, where="last.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"num_classes": "2"}, {"num_classes": 1}, {"patch_size": 16}, {"patch_size": [16, True, 16]},
        {"orientation": "RAX"}, {"amp": "int8"}, {"channels_last": "yes"}, {"class_names": [1]},
        {"spacing": "wide"}, {"network": "VNet"}, {"network": None},
        {"preprocessing": [{"name": "LoadCased"}]},
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_named(change):
    with pytest.raises(InputError, match=next(iter(change))):
        read_description("last.pt", {**META, **change})


EARLIER = {
    "method": "TCSeg",
    "network": {"class": "DualDecoderVNet", "parameters": 1},
    "overlay": "custom",
    **{"in_channels": 1, "num_classes": 2, "width": 2, "h5_spacing": 0.5, "amp": "off"},
    **{"patch_size": [16, 16, 16], "stride": [8, 8, 8], "orientation": "RAS", "spacing": None},
}
CONFIG = {
    "run": ["$print('ran')"],
    "h5_spacing": 0.5,
    "class_names": ["atrium"],
    "preprocessing": [
        {"_target_": "medssl.data.LoadCased", "keys": ["image", "label"], "h5_spacing": "@h5_spacing",
         "label_map": "@label_map", "in_channels": "@in_channels", "num_classes": "@num_classes"},
        {"_target_": "CropForegroundd", "keys": ["image", "label"], "source_key": "image",
         "select_fn": "$lambda x: x > x.min()", "allow_missing_keys": True},
        {"_target_": "Spacingd", "_disabled_": "$@spacing is None", "keys": ["image", "label"],
         "pixdim": "@spacing", "mode": ["bilinear", "nearest"], "allow_missing_keys": True},
        {"_target_": "NormalizeIntensityd", "keys": "image"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("spacing", [None, [1.0, 1.0, 2.0]])
def test_an_earlier_checkpoint_is_read_with_the_configuration_beside_it(tmp_path, spacing, capsys):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    path = save(tmp_path / "last.pt", {**EARLIER, "spacing": spacing}, DualDecoderVNet(width=2))
    deployment = load_deployment([path])
    assert isinstance(deployment.networks[0], DualDecoderVNet)
    steps = {type(step).__name__: step for step in deployment.transform.transforms}
    assert ("Spacingd" in steps) == (spacing is not None)
    assert "CropAboveMinimumd" in steps
    assert steps["LoadCased"].h5_spacing == 0.5
    assert deployment.description.class_names == ("atrium",)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("meta", "config", "fault"),
    [
        (EARLIER, None, "put the config.yaml of its run beside it"),
        (EARLIER, {"preprocessing": ["LoadCased"]}, "put the config.yaml of its run beside it"),
        ({**EARLIER, "network": {"class": "os.system"}}, CONFIG, "says too little"),
        ({"method": "TCSeg", "network": {"class": "VNet"}}, CONFIG, "says too little"),
        (EARLIER, {"preprocessing": [{"_target_": "Lambdad", "keys": "image", "func": "$print"}]}, "func"),
        (EARLIER, {"preprocessing": [{"_target_": "os.system", "command": "true"}]}, "no such name"),
        ({**EARLIER, "h5_spacing": "$print()"}, CONFIG, "h5_spacing"),
    ],
)
def test_an_earlier_checkpoint_that_says_too_little_says_what_to_do(tmp_path, meta, config, fault):
    if config is not None:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=fault) as caught:
        load_deployment([save(tmp_path / "last.pt", meta, DualDecoderVNet(width=2))])
    assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_refused(tmp_path):
    with pytest.raises(InputError, match="another architecture"):
        load_deployment([save(tmp_path / "last.pt", META, VNet(width=3))])
    with pytest.raises(InputError, match="another architecture"):
        load_deployment([save(tmp_path / "last.pt", META, Adapted(nn.Conv3d(1, 2, 1)))])
