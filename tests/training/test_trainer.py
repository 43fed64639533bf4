import copy
import math

import pytest
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.handlers import StatsHandler, TensorBoardStatsHandler
from torch import nn
from torch.nn import functional as F

from medssl.common.errors import InputError
from medssl.inference.checkpoints import load_checkpoint
from medssl.methods.base import Batch, Method
from medssl.methods.teacher import Teacher
from medssl.training.checkpointer import Checkpointer
from medssl.training.trainer import NonFiniteLossError, SemiSupervisedTrainer
from tests.training import tiny


class Layers(nn.Sequential):
    deployed_modules = None


class Plain(Method):
    """No random numbers: a convolution, a teacher, two losses."""

    views = ("weak",)

    def __init__(self, network=None):
        super().__init__()
        self.network = network or Layers(nn.Conv3d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv3d(3, 2, 1))
        self.teacher = Teacher(self.network, alpha=0.9)
        self.steps, self.after = [], []

    def training_step(self, batch, step):
        self.steps.append(step)
        loss = F.cross_entropy(self.network(batch.labeled_images).float(), batch.labels)
        unlabeled = batch.unlabeled["weak"]
        away = (self.network(unlabeled) - self.teacher(unlabeled)).square().mean()
        return {"loss": loss + away, "away": away.detach()}

    def after_step(self, step):
        self.after.append(step)
        super().after_step(step)

    def predict(self, images):
        return self.network(images)


def batches(number=6, scale=1.0):
    generator = torch.Generator().manual_seed(5)
    drawn = []
    for _ in range(number):
        image = scale * torch.randn(4, 1, 4, 4, 4, generator=generator)
        drawn.append(
            {"image": image[:2], "label": (image[:2, 0] > 0).long(), "unlabeled": {"weak": image[2:]}}
        )
    return drawn


def make(method, data, *, lr=0.1, optimizer=torch.optim.SGD, schedule=False, **options):
    optimizer = optimizer(method.network.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5) if schedule else None
    return SemiSupervisedTrainer(
        device="cpu",
        max_epochs=options.pop("max_epochs", 2),
        train_data_loader=data,
        method=method,
        optimizer=optimizer,
        steps_per_epoch=options.pop("steps_per_epoch", 3),
        lr_scheduler=scheduler,
        **options,
    )


def loop(method, data, *, lr=0.1, optimizer=torch.optim.SGD, dtype=None, clip=None, schedule=False):
    """A training loop in plain torch."""
    optimizer = optimizer(method.network.parameters(), lr=lr)
    scaler = torch.amp.GradScaler("cpu") if dtype is torch.float16 else None
    parameters = list(method.network.parameters())
    losses, rates = [], []
    for step, item in enumerate(data):
        batch = Batch(item["image"], item["label"], item["unlabeled"])
        rates.append(lr * 0.5 ** (step // 2) if schedule else lr)
        optimizer.param_groups[0]["lr"] = rates[-1]
        optimizer.zero_grad()
        if dtype is None:
            loss = method.training_step(batch, step)["loss"]
        else:
            with torch.autocast("cpu", dtype):
                loss = method.training_step(batch, step)["loss"]
        if scaler is None:
            loss.backward()
        else:
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
        if clip is not None:
            norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in parameters))
            for p in parameters:
                p.grad *= min(1.0, clip / (norm + 1e-6))
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        method.teacher.update(method.network, step)
        losses.append(float(loss.detach()))
    return losses, rates


def test_bf16_learns_on_maps_of_side_two_what_float32_learns():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(1, 16, 3, padding=1), nn.Conv3d(16, 16, 3, padding=1), nn.Conv3d(16, 2, 1)
    )
    item = batches(1)[0]
    data = [{name: item[name][..., :2, :, :] for name in ("image", "label")}]
    data[0]["unlabeled"] = {"weak": item["unlabeled"]["weak"][..., :2, :, :]}
    changes = []
    for precision in ("off", "bf16"):
        method = Plain(copy.deepcopy(network))
        make(method, data, amp=precision, max_epochs=1, steps_per_epoch=1).run()
        changes.append(method.network[1].weight.detach() - network[1].weight.detach())
    assert (changes[1] - changes[0]).norm() < 0.05 * changes[0].norm()


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({}, {}),
        ({"schedule": True}, {"schedule": True}),
        ({"max_grad_norm": 0.05}, {"clip": 0.05}),
        ({"amp": "bf16"}, {"dtype": torch.bfloat16}),
        ({"amp": "fp16", "max_grad_norm": 0.05}, {"dtype": torch.float16, "clip": 0.05}),
        ({"optimizer": torch.optim.AdamW}, {"optimizer": torch.optim.AdamW}),
    ],
    ids=["float32", "schedule", "clipped", "bf16", "fp16-clipped", "adamw"],
)
def test_training_equals_a_plain_loop(options, reference):
    torch.manual_seed(0)
    ours = Plain()
    plain = copy.deepcopy(ours)
    outputs = []
    trainer = make(ours, batches(), **options)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: outputs.append(engine.state.output))
    start = ours.network[0].weight.detach().clone()
    trainer.run()
    losses, rates = loop(plain, batches(), **reference)
    assert not torch.equal(ours.network[0].weight, start)
    for (name, a), b in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)
    assert [output["loss"] for output in outputs] == pytest.approx(losses, rel=1e-5)
    assert [output["lr"] for output in outputs] == pytest.approx(rates)


def test_clipping_matters_in_the_comparison():
    torch.manual_seed(0)
    clipped = Plain()
    free = copy.deepcopy(clipped)
    make(clipped, batches(), max_grad_norm=0.05).run()
    make(free, batches()).run()
    assert not torch.allclose(clipped.network[0].weight, free.network[0].weight, atol=1e-4)


def test_steps_are_counted_from_zero_over_all_epochs():
    method = Plain()
    make(method, batches()).run()
    assert method.steps == method.after == list(range(6))


def test_a_batch_holds_the_views_of_the_method_alone_as_plain_tensors():
    item = batches(1)[0]
    views = {"weak": MetaTensor(item["unlabeled"]["weak"]), "strong1": torch.zeros(2, 1, 4, 4, 4)}
    valid = torch.rand(2, 4, 4, 4) > 0.5
    loaded = {
        "image": MetaTensor(item["image"]),
        "label": MetaTensor(item["label"]),
        "unlabeled": views,
        "valid": valid,
    }
    batch = make(Plain(), batches()).prepare(loaded)
    assert torch.equal(batch.labeled_images, item["image"])
    assert torch.equal(batch.labels, item["label"])
    assert list(batch.unlabeled) == ["weak"]
    assert torch.equal(batch.unlabeled["weak"], item["unlabeled"]["weak"])
    assert torch.equal(batch.valid, valid)
    assert torch.equal(batch.images(), torch.cat([item["image"], item["unlabeled"]["weak"]]))
    assert not any(isinstance(t, MetaTensor) for t in (batch.images(), batch.labels))


def test_as_many_images_as_labels_and_every_view_are_asked_for():
    trainer, item = make(Plain(), batches()), batches(1)[0]
    with pytest.raises(ValueError, match="got 1 and 2"):
        trainer.prepare(item | {"image": item["image"][:1]})
    for unlabeled in ({}, {"strong1": item["image"]}):
        with pytest.raises(ValueError, match=r"missing .'weak'"):
            trainer.prepare(item | {"unlabeled": unlabeled})


@pytest.mark.parametrize(
    ("layer", "image", "layout"),
    [
        (nn.Conv3d(1, 3, 3, padding=1), torch.zeros(3, 1, 4, 4, 4), torch.channels_last_3d),
        (nn.Conv2d(2, 3, 3, padding=1), torch.zeros(3, 2, 4, 4), torch.channels_last),
    ],
    ids=["3D", "2D"],
)
def test_channels_last_turns_weights_teacher_and_images(layer, image, layout):
    method = Plain(layer)
    trainer = make(method, [], channels_last=True)
    labels = torch.zeros(3, *image.shape[2:], dtype=torch.long)
    batch = trainer.prepare({"image": image, "label": labels, "unlabeled": {"weak": image}})
    weights = (method.network.weight, method.teacher.network.weight)
    for tensor in (*weights, batch.labeled_images, batch.unlabeled["weak"], batch.images()):
        assert tensor.is_contiguous(memory_format=layout)


def test_channels_last_trains_the_same():
    torch.manual_seed(0)
    a = Plain()
    b = copy.deepcopy(a)
    make(a, batches()).run()
    make(b, batches(), channels_last=True).run()
    for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


def test_compiling_keeps_the_state_dict_keys(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    method = Plain()
    keys = list(method.state_dict())
    make(method, batches(), compile_network=True)
    assert compiled == [method.network]
    assert list(method.state_dict()) == keys


def test_a_non_finite_loss_stops_before_the_step_and_keeps_the_last_checkpoint(tmp_path):
    data = batches()
    data[4]["image"][0, 0, 0, 0, 0] = float("nan")
    method = Plain()
    trainer = make(method, data)
    Checkpointer(tmp_path).attach(trainer)
    weights = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda _: weights.append(method.network[0].weight.detach().clone())
    )
    with pytest.raises(NonFiniteLossError, match=r"step 4: loss=nan, away=\d") as caught:
        trainer.run()
    assert caught.value.step == 4
    assert method.after == [0, 1, 2, 3]
    assert torch.equal(method.network[0].weight, weights[3])
    assert load_checkpoint(tmp_path / "last.pt")["progress"]["step"] == 3


def test_fp16_survives_an_overflow_of_scaled_gradients():
    """The scaler halves its scale and leaves the weights alone; the loss itself is finite."""
    method = Plain()
    trainer = make(method, batches(1), amp="fp16", max_epochs=1, steps_per_epoch=1)
    trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    before = method.network[0].weight.detach().clone()
    trainer.run()
    assert trainer.grad_scaler.get_scale() == 2.0**29
    assert torch.equal(method.network[0].weight, before)


def test_evaluation_between_steps_does_not_leave_the_method_in_evaluation_mode():
    method = tiny.Tiny(tiny.TinyNet())
    trainer = tiny.make_trainer(method=method, max_epochs=1, steps_per_epoch=2)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: method.eval())
    modes = []
    method.network[3].register_forward_hook(lambda module, *_: modes.append(module.training))
    trainer.run()
    assert modes
    assert all(modes)


def test_monai_handlers_log_the_parts(tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stats = StatsHandler(output_transform=lambda x: x)
    board = TensorBoardStatsHandler(log_dir=str(tmp_path), output_transform=lambda x: x)
    trainer = make(Plain(), batches(), train_handlers=[stats, None, board])
    trainer.run()
    board.close()
    printed = capsys.readouterr().out
    assert "away: " in printed
    assert "lr: 0.1000" in printed
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert events.Scalars("away")[-1].value == pytest.approx(trainer.state.output["away"])


def test_a_complete_training_is_not_begun_again():
    method = Plain()
    trainer = make(method, batches())
    trainer.run()
    trainer.run()
    assert len(method.steps) == 6


def test_an_unknown_precision_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'bf16'"):
        make(Plain(), batches(), amp="bf-16")


@pytest.mark.parametrize("option", ["max_epochs", "steps_per_epoch", "max_grad_norm"])
def test_numbers_that_are_not_positive_are_refused(option):
    with pytest.raises(ValueError, match=f"{option} must be .*got 0"):
        make(Plain(), batches(), **{option: 0})
