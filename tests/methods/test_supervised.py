import pytest
import torch

from medssl.methods import Batch, Supervised
from medssl.networks import VNet

from .conftest import make_batch
from .two_decoders import TwoDecoders


def test_unlabeled_images_are_not_looked_at(batch):
    network = VNet(width=2, dropout=0.0)
    poisoned = Batch(
        batch.labeled_images, batch.labels, {"weak": torch.full_like(batch.unlabeled["weak"], float("nan"))}
    )
    method = Supervised(network)
    torch.testing.assert_close(
        method.training_step(batch, 0)["loss"], method.training_step(poisoned, 0)["loss"]
    )


def test_loss_is_the_mean_of_its_parts(batch):
    parts = Supervised(VNet(width=2)).training_step(batch, 0)
    torch.testing.assert_close(parts["loss"].detach(), (parts["cross_entropy"] + parts["dice"]) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
def test_a_tiny_model_overfits_a_tiny_batch(classes):
    batch = make_batch(classes=classes)
    torch.manual_seed(0)
    network = VNet(width=4, num_classes=classes, dropout=0.0)
    method = Supervised(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(25):
        optimizer.zero_grad()
        loss = method.training_step(batch, step)["loss"]
        loss.backward()
        optimizer.step()
    assert (method.eval()(batch.labeled_images).argmax(1) == batch.labels).float().mean() > 0.9


def test_the_deployed_path_of_any_network_is_trained(batch):
    network = TwoDecoders()
    method = Supervised(network)
    method.training_step(batch, 0)["loss"].backward()
    trained = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert trained == {name for name in dict(network.named_parameters()) if ".0." in name}
    torch.testing.assert_close(method.predict(batch.images()), network(batch.images()).logits[0])
