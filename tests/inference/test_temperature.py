"""One temperature makes confidences mean what they say."""

import json

import pytest
import torch

from medssl.common.errors import InputError
from medssl.inference.temperature import (
    calibration_file,
    fit_temperature,
    save_temperature,
    stored_temperature,
    tempered,
)


def overconfident(temperature, seed=0, size=(40, 40, 20)):
    """Probabilities sharpened by a temperature, and labels drawn from the true ones."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(3, *size, generator=generator)
    truth = torch.softmax(logits, 0)
    labels = torch.multinomial(truth.flatten(1).T, 1, generator=generator).view(size)
    return torch.softmax(logits * temperature, 0), labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_was_taken_is_found(temperature):
    fit = fit_temperature([overconfident(temperature, seed) for seed in range(3)])
    assert fit.temperature == pytest.approx(temperature, rel=0.03)
    assert fit.ece_after < 0.01
    assert fit.nll_after <= fit.nll_before + 1e-9
    assert (fit.cases, fit.voxels) == (3, 3 * 32_000)


def test_the_fit_is_the_minimum_of_a_grid():
    probs, labels = overconfident(1.7)
    fit = fit_temperature([(probs, labels)])

    def loss(temperature):
        return float(
            torch.nn.functional.nll_loss(tempered(probs, temperature).flatten(1).T.log(), labels.flatten())
        )

    best = min((0.5 + 0.01 * n for n in range(300)), key=loss)
    assert fit.temperature == pytest.approx(best, abs=0.011)


def test_voxels_that_nobody_labelled_change_nothing():
    probs, labels = overconfident(2.0)
    unlabeled = torch.full_like(labels, 255)
    both = torch.cat([probs, probs.flip(0)], 1), torch.cat([labels, unlabeled], 0)
    assert fit_temperature([both]) == fit_temperature([(probs, labels)])


def test_tempering_is_the_softmax_of_logits_over_the_temperature():
    logits = torch.randn(4, 5, 6, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(tempered(torch.softmax(logits, 0), 2.5), torch.softmax(logits / 2.5, 0))
    probs = torch.softmax(logits, 0)
    assert tempered(probs, 1.0) is probs
    assert torch.equal(tempered(probs, 3.0).argmax(0), probs.argmax(0))


def test_a_model_without_an_error_is_not_sharpened_without_end():
    probs = torch.tensor([[0.9, 0.9, 0.2], [0.1, 0.1, 0.8]])
    assert 0.05 <= fit_temperature([(probs, torch.tensor([0, 0, 1]))]).temperature < 0.2
    with pytest.raises(InputError, match="no validation case"):
        fit_temperature([])


def test_it_is_stored_with_the_checkpoint_that_it_belongs_to(tmp_path, caplog):
    checkpoint = tmp_path / "last.pt"
    checkpoint.write_bytes(b"weights")
    assert stored_temperature(checkpoint) == 1
    fit = fit_temperature([overconfident(2.0)])
    path = save_temperature(checkpoint, fit)
    assert path == calibration_file(checkpoint) == tmp_path / "last.calibration.json"
    assert stored_temperature(checkpoint) == fit.temperature
    with pytest.raises(InputError, match="exists already"):
        save_temperature(checkpoint, fit)
    checkpoint.write_bytes(b"other weights")
    assert stored_temperature(checkpoint) == 1
    assert "another state" in caplog.text
    path.write_text(json.dumps({"temperature": 2}))
    with pytest.raises(InputError, match="not a calibration"):
        stored_temperature(checkpoint)
