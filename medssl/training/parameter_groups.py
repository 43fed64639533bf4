"""Learning rates of their own for pretrained backbones and new heads."""

from typing import Any

from medssl.common.errors import InputError
from medssl.networks import EncoderDecoder, Network


def parameter_groups(
    network: Network, learning_rate: float, head_multiplier: float = 10.0, weight_decay: float | None = None
) -> list[dict[str, Any]]:
    """Groups for an optimiser's ``params``: the backbone, then the head with a multiple of its learning rate.

    A scheduler that multiplies, such as torch's ``PolynomialLR``, keeps the ratio. As published: 10 for
    DeepLabV3+ on PASCAL VOC and COCO, 1 on Cityscapes (UniMatch), 40 for DPT (UniMatch V2). MONAI's
    ``generate_param_groups`` hands out iterators, which an optimiser uses up, and knows no multiple.

    Args:
        network: its ``backbone_modules`` are the backbone; a network without one is a single group, at the
            learning rate.
        learning_rate: of the backbone.
        head_multiplier: of it, for all else.
        weight_decay: of both groups; None for the optimiser's.

    Returns:
        One or two groups with ``params`` and ``lr``; frozen parameters are in neither.

    Raises:
        InputError: a learning rate or multiplier that is not above 0, or nothing that could learn.
    """
    for name, value in (("learning_rate", learning_rate), ("head_multiplier", head_multiplier)):
        if not value > 0:
            raise InputError(f"{name}={value}", "not above 0", "give the published one, or 1 for both alike")
    names = network.backbone_modules if isinstance(network, EncoderDecoder) else ()
    backbone = {id(weight) for name in names for weight in network.get_submodule(name).parameters()}
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    pretrained = [weight for weight in trained if id(weight) in backbone]
    new = [weight for weight in trained if id(weight) not in backbone]
    rate = learning_rate * head_multiplier if backbone else learning_rate
    groups = [{"params": pretrained, "lr": learning_rate}, {"params": new, "lr": rate}]
    if weight_decay is not None:
        groups = [{**group, "weight_decay": weight_decay} for group in groups]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise InputError(type(network).__name__, "has no parameter that learns", "freeze fewer")
    return groups
