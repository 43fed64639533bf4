import pickle
from pathlib import Path

import pytest
import torch
from ignite.handlers import Checkpoint
from torch import nn
from torch.nn import functional as F

from medssl.common.errors import InputError
from medssl.inference.checkpoints import load_checkpoint, load_network
from medssl.methods.base import Method
from medssl.methods.teacher import Teacher
from medssl.networks import DualDecoderVNet, VNet
from medssl.training.checkpointer import Checkpointer
from medssl.training.checkpoints import make_checkpoint, restore
from tests.training import tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A trainer after one epoch and its checkpoint."""
    folder = tmp_path_factory.mktemp("saved")
    trainer = tiny.make_trainer(max_epochs=1)
    Checkpointer(folder, meta={"classes": ("background", "left atrium"), "patch": Path("x")}).attach(trainer)
    trainer.run()
    return trainer, folder / "last.pt"


def test_a_checkpoint_loads_with_weights_only_and_holds_everything(saved):
    trainer, path = saved
    checkpoint = torch.load(path, weights_only=True)
    assert set(checkpoint) == {
        "method",
        "network",
        "deployed",
        "optimizer",
        "scheduler",
        "scaler",
        "rng",
        "progress",
        "best",
        "meta",
    }
    assert checkpoint["progress"] == {"step": 4, "epoch": 1, "steps_per_epoch": 4}
    assert checkpoint["best"] == {"metric": -1.0, "epoch": -1}
    assert torch.equal(
        checkpoint["method"]["teacher.network.0.weight"], trainer.method.teacher.network[0].weight
    )
    assert checkpoint["optimizer"]["state"][0]["momentum_buffer"].shape == (4, 1, 3, 3, 3)
    assert checkpoint["scheduler"]["last_epoch"] == 4
    assert checkpoint["meta"]["method"] == "Tiny"
    assert checkpoint["meta"]["versions"]["torch"] == str(torch.__version__)
    assert checkpoint["meta"]["classes"] == ["background", "left atrium"]


class Dual(Method):
    """Both decoders on the labelled images, and a teacher."""

    def __init__(self, network):
        super().__init__()
        self.network, self.teacher = network, Teacher(network)

    def training_step(self, batch, step):
        logits = self.network(batch.labeled_images).logits
        return {"loss": sum(F.cross_entropy(x, batch.labels.long()) for x in logits)}

    def predict(self, images):
        return self.network.deployed(images)


@pytest.fixture(scope="module")
def dual(tmp_path_factory):
    """A trained two-decoder V-Net, its method and its checkpoint."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dual")
    method = Dual(DualDecoderVNet(width=2, dropout=0.0))
    image = torch.randn(2, 1, 16, 16, 16)
    batches = [{"image": image, "label": (image[:, 0] > 0).long()}]
    trainer = tiny.make_trainer(method=method, loader=batches, max_epochs=1, steps_per_epoch=2)
    Checkpointer(folder).attach(trainer)
    trainer.run()
    return method, folder / "last.pt"


@pytest.mark.parametrize("part", ["network", "teacher"])
def test_the_deployed_network_takes_the_weights_of_student_or_teacher(dual, part):
    method, path = dual
    source = method.network if part == "network" else method.teacher.network
    network = VNet(width=2)
    load_network(path, network, part=part)
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(network.eval().deployed(image), source.eval().deployed(image))
    assert not torch.equal(
        method.network.encoder.stages[0][0][0].weight, method.teacher.network.encoder.stages[0][0][0].weight
    )


def test_a_deployed_teacher_is_the_network_of_the_checkpoint(dual, tmp_path):
    method, _ = dual
    trainer = tiny.make_trainer(method=method, max_epochs=1, steps_per_epoch=2)
    method.deploy("teacher")
    try:
        checkpoint = make_checkpoint(trainer, rng=[])
    finally:
        method.deploy("student")
    state = method.teacher.network.state_dict()
    assert checkpoint["network"].keys() == state.keys()
    assert all(torch.equal(checkpoint["network"][key], state[key]) for key in state)
    assert all(torch.equal(checkpoint["deployed"][key], state[key]) for key in checkpoint["deployed"])
    assert any(not torch.equal(state[key], method.network.state_dict()[key]) for key in state)


def test_monai_export_finds_the_deployed_network(dual):
    """``ckpt_export`` loads with Ignite, which accepts no key that the network does not have."""
    method, path = dual
    network = VNet(width=2)
    Checkpoint.load_objects(to_load={"deployed": network}, checkpoint=str(path))
    assert torch.equal(network.decoder1.classifier.weight, method.network.decoder1.classifier.weight)


def test_network_and_deployed_weights_take_no_room_of_their_own(dual):
    method, path = dual
    tensors = list(torch.load(path, weights_only=True)["method"].values())
    momentum = sum(p.numel() * p.element_size() for p in method.network.parameters())
    needed = sum(t.numel() * t.element_size() for t in tensors) + momentum
    overhead = path.stat().st_size - needed
    assert 0 < overhead < 0.5 * momentum + 400 * len(tensors)


def test_a_network_of_another_width_is_refused_with_the_first_difference(dual):
    with pytest.raises(InputError, match=r"another architecture: encoder\S+ is \(2, .* there, \(4, .* here"):
        load_network(dual[1], VNet(width=4))


def test_a_network_with_weights_that_the_checkpoint_lacks_is_refused(dual):
    network = VNet(width=2)
    network.extra = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"another architecture: extra\.weight is no such weight there"):
        load_network(dual[1], network)


def test_a_refused_network_is_left_as_it_was(dual):
    network = VNet(width=2)
    network.decoder1.classifier = nn.Conv3d(2, 3, 1)
    before = [t.clone() for t in network.state_dict().values()]
    with pytest.raises(InputError, match=r"decoder1\.classifier"):
        load_network(dual[1], network)
    assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values(), strict=True))


def test_a_checkpoint_without_a_teacher_says_so(tmp_path):
    method = tiny.Tiny(tiny.TinyNet())
    trainer = tiny.make_trainer(method=method, max_epochs=1)
    Checkpointer(tmp_path).attach(trainer)
    trainer.run()
    checkpoint = torch.load(tmp_path / "last.pt", weights_only=True)
    checkpoint["method"] = {k: v for k, v in checkpoint["method"].items() if "teacher" not in k}
    torch.save(checkpoint, tmp_path / "last.pt")
    with pytest.raises(InputError, match="Tiny has no teacher"):
        load_network(tmp_path / "last.pt", tiny.TinyNet(), part="teacher")


class _Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("fault", ["missing", "folder", "truncated", "empty", "text", "state-dict", "code"])
def test_what_is_no_checkpoint_is_refused_in_one_line(saved, tmp_path, fault, capsys):
    path = tmp_path / "bad.pt"
    if fault == "folder":
        path.mkdir()
    elif fault == "truncated":
        content = saved[1].read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif fault == "empty":
        path.touch()
    elif fault == "text":
        path.write_text("epoch 3")
    elif fault == "state-dict":
        torch.save(tiny.TinyNet().state_dict(), path)
    elif fault == "code":
        path.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(InputError, match=r"bad\.pt: ") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"steps_per_epoch": 5}, "Tiny, 4 steps an epoch, 1 process"),
        ({"method": "wide"}, r"another architecture: network.0.weight is \(4, .* there, \(6, "),
        ({"lr_scheduler": None}, "schedule"),
        ({"method": "other"}, "trained as Tiny"),
    ],
    ids=["epoch length", "width", "schedule", "method"],
)
def test_a_resume_as_something_else_is_refused(saved, options, fault):
    if options.get("method") == "wide":
        options = {"method": tiny.Tiny(tiny.TinyNet(6))}
    elif options.get("method") == "other":
        options = {"method": Dual(DualDecoderVNet(width=2))}
    trainer = tiny.make_trainer(**options)
    with pytest.raises(InputError, match=fault):
        restore(saved[1], trainer=trainer)
    assert trainer.state.iteration == 0


def test_a_resume_with_another_optimizer_is_refused(saved):
    trainer = tiny.make_trainer()
    trainer.optimizer = torch.optim.SGD(
        [
            {"params": trainer.method.network[0].parameters()},
            {"params": trainer.method.network[4].parameters()},
        ]
    )
    with pytest.raises(InputError, match="of another optimizer"):
        restore(saved[1], trainer=trainer)


def test_a_resume_beyond_the_end_is_refused(tmp_path):
    trainer = tiny.make_trainer(max_epochs=2)
    Checkpointer(tmp_path).attach(trainer)
    trainer.run()
    with pytest.raises(InputError, match="has 8 steps already; train for more than 4"):
        restore(tmp_path / "last.pt", trainer=tiny.make_trainer(max_epochs=1))
