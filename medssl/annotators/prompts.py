"""Classes as a user writes them on a command line, and their scores as probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medssl.common.errors import InputError

BACKGROUND = "background"
"""Name of a class 0 for which nothing is asked."""


@dataclass(frozen=True)
class PromptedClass:
    """A class and what a model is asked for it.

    Attributes:
        name: of the class.
        prompts: words that mean it; none, of class 0 alone, for all that is no other class.
    """

    name: str
    prompts: tuple[str, ...]


def parse_classes(text: str) -> tuple[PromptedClass, ...]:
    """Classes from ``"sky; building; pole, column"``.

    Classes are separated by semicolons and have ids in this order, from 0. The first of a class's words,
    separated by commas, is its name; the others are synonyms, asked for as well. ``"sign = traffic sign,
    signpost"`` asks for other words than the name. Nothing is asked for a class 0 that is called
    ``background``, or that is written ``"rest ="``.

    Args:
        text: as above.

    Raises:
        InputError: fewer than two classes, one without a name, a name that comes twice, or one with nothing
            to ask for that is not class 0.
    """
    classes = [_parse_class(index, part.strip()) for index, part in enumerate(text.split(";"))]
    names = [entry.name for entry in classes]
    if len(names) < 2 or not all(names):
        raise InputError(f"classes {text!r}", "are fewer than two with a name", 'write "sky; building; pole"')
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"classes {text!r}", f"{twice[0]} comes twice", "name every class once")
    for entry in classes[1:]:
        if not entry.prompts:
            fault = f"nothing is asked for {entry.name}"
            raise InputError(f"classes {text!r}", fault, "only the first class may be the rest")
    return tuple(classes)


def _parse_class(index: int, part: str) -> PromptedClass:
    name, has_own_words, words = part.partition("=")
    prompts = tuple(word.strip() for word in (words if has_own_words else name).split(",") if word.strip())
    name = name.split(",")[0].strip()
    if index == 0 and name == BACKGROUND and not has_own_words:
        prompts = ()
    return PromptedClass(name, prompts)


def class_probabilities(scores: Tensor, prompts_of_class: Sequence[int]) -> Tensor:
    """Probabilities of classes from independent scores of prompts.

    A class has the largest score of its prompts. One without a prompt, the background, has 1 minus the
    largest of all. Then scores are divided by their sum, and where nothing has any score, all are alike.

    Args:
        scores: ``(P, *S)`` in [0, 1], prompts in the order of their classes.
        prompts_of_class: number of prompts of each of the ``K`` classes; their sum is ``P``.

    Returns:
        ``(K, *S)``, sums to one.
    """
    by_class = [
        part.amax(0) if len(part) else 1 - scores.amax(0)
        for part in torch.split(scores, list(prompts_of_class))
    ]
    stacked = torch.stack(by_class)
    total = stacked.sum(0)
    return torch.where(total > 0, stacked / total.clamp_min(1e-12), 1 / len(stacked))
