"""Images annotated by models that are asked in words: CLIPSeg and SAM 3, from Hugging Face transformers.

Lüddecke and Ecker 2022, "Image segmentation using text and image prompts"; Carion et al. 2025, "SAM 3:
Segment anything with concepts".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from medssl.annotators.folder import ImageFiles, first_file
from medssl.annotators.prompts import PromptedClass, class_probabilities
from medssl.common.errors import InputError
from medssl.common.files import sha256_of_file
from medssl.data.reading.loading import IMAGE_KEY, LoadCased

TextModel = Literal["clipseg", "sam3"]

CLASS_OF: Mapping[TextModel, str] = {"clipseg": "CLIPSegForImageSegmentation", "sam3": "Sam3Model"}
"""Class of transformers by the name of the model."""

DEFAULT_WEIGHTS: Mapping[TextModel, str] = {"clipseg": "CIDAS/clipseg-rd64-refined", "sam3": "facebook/sam3"}
"""Names on the hub; SAM 3's asks for an account that has accepted its licence."""


@dataclass(frozen=True)
class ImageInput:
    """What a model wants of an image.

    transformers' own image processor of SAM 3 needs torchvision, which this package does without; for CLIPSeg
    the tests compare with transformers'.

    Attributes:
        size: height and width in pixels; images are stretched to it.
        mean: of the three colours, in [0, 1].
        std: likewise.
        resample: Pillow's number of the interpolation.
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    resample: int = 2

    def __call__(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Pixels ``(H, W, 3)`` of 0 to 255 -> ``(1, 3, *size)``."""
        resized = Image.fromarray(pixels).resize(self.size[::-1], Image.Resampling(self.resample))
        values = torch.from_numpy(np.array(resized, np.float32)).permute(2, 0, 1) / 255
        mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (self.mean, self.std))
        return ((values - mean) / std).unsqueeze(0)


class TextPrompted:
    """CLIPSeg or SAM 3, asked for every class by its words.

    A score of a prompt lies in [0, 1]: of CLIPSeg the sigmoid of its logit; of SAM 3 the larger one of its
    semantic mask and of its instances (mask times confidence), times the probability that the image
    shows the concept at all. :func:`medssl.annotators.prompts.class_probabilities` says how scores become
    probabilities.

    Args:
        model: ``"clipseg"`` or ``"sam3"``.
        classes: see :func:`medssl.annotators.prompts.parse_classes`.
        weights: a name on the Hugging Face hub, or a folder that ``save_pretrained`` wrote; None for the
            published ones.
        prompts_at_once: prompts that are asked for together; SAM 3 needs about 100 MB for each.
        device: such as ``"cuda:0"``.

    Raises:
        InputError: transformers is not installed, the weights cannot be had or are another model's, or a
            prompt is longer than the model reads.
    """

    axes = 2

    def __init__(
        self,
        model: TextModel,
        classes: Sequence[PromptedClass],
        *,
        weights: str | None = None,
        prompts_at_once: int = 4,
        device: torch.device | str = "cpu",
    ) -> None:
        if prompts_at_once < 1:
            raise InputError(f"prompts at once {prompts_at_once}", "below 1", "1 is the least")
        self.model_name, self.prompted = model, tuple(classes)
        self.classes = tuple(entry.name for entry in classes)
        self.prompts = [prompt for entry in classes for prompt in entry.prompts]
        self.weights = DEFAULT_WEIGHTS[model] if weights is None else weights
        self.prompts_at_once, self.device = prompts_at_once, torch.device(device)
        self.model, self.image_input, self._tokens = _load(model, self.weights, self.prompts)
        self.model = self.model.to(self.device)
        self._load = LoadCased(IMAGE_KEY, max_intensity=255)

    @property
    def record(self) -> Mapping[str, Any]:
        """Model, weights and prompts."""
        files = sorted(Path(self.weights).glob("*.safetensors")) if Path(self.weights).is_dir() else []
        return {
            "model": self.model_name,
            "weights": self.weights,
            # Of the hub a commit says which they are, of a folder what its files hold.
            "weights_version": [sha256_of_file(path) for path in files]
            or getattr(self.model.config, "_commit_hash", None),
            "prompts": {entry.name: list(entry.prompts) for entry in self.prompted},
        }

    @torch.inference_mode()
    def annotate(self, image: ImageFiles) -> NDArray[np.float32]:
        """See :class:`medssl.annotators.base.Annotator`; the grid is that of the model's masks.

        Raises:
            InputError: the file cannot be read, or is no photograph of one or three channels of 8 bits.
        """
        pixels = self.image_input(self._pixels(image)).to(self.device)
        score = self._clipseg_scores if self.model_name == "clipseg" else self._sam3_scores
        scores = torch.cat([part.float().cpu() for part in score(pixels)])
        counts = [len(entry.prompts) for entry in self.prompted]
        probs: NDArray[np.float32] = class_probabilities(scores, counts).numpy()
        return probs

    def _pixels(self, image: ImageFiles) -> NDArray[np.uint8]:
        """``(H, W, 3)``."""
        values = self._load({IMAGE_KEY: image})[IMAGE_KEY].as_tensor()
        if values.ndim != 3 or len(values) not in (1, 3):
            shape = " x ".join(map(str, values.shape))
            remedy = "annotate volumes with a MONAI bundle (--model bundle), or with maps of your own"
            raise InputError(first_file(image), f"is no photograph (its array is {shape})", remedy)
        pixels: NDArray[np.uint8] = values.expand(3, -1, -1).permute(1, 2, 0).numpy().astype(np.uint8)
        return pixels

    def _groups(self) -> list[dict[str, Tensor]]:
        """Tokens of a few prompts at a time, on the device."""
        starts = range(0, len(self.prompts), self.prompts_at_once)
        return [
            {
                name: ids[start : start + self.prompts_at_once].to(self.device)
                for name, ids in self._tokens.items()
            }
            for start in starts
        ]

    def _clipseg_scores(self, pixels: Tensor) -> list[Tensor]:
        """``(P, h, w)`` in parts. As the model's own ``forward``, but the image is encoded once for all."""
        vision = self.model.clip.get_image_features(pixels, output_hidden_states=True)
        # Behind the input's embedding, hence 1 more.
        layers = [vision.hidden_states[index + 1] for index in self.model.extract_layers]
        scores = []
        for tokens in self._groups():
            words = self.model.clip.get_text_features(**tokens).pooler_output
            repeated = tuple(layer.expand(len(words), -1, -1) for layer in layers)
            logits = self.model.decoder(repeated, words).logits
            scores.append(logits.sigmoid().reshape(len(words), *logits.shape[-2:]))
        return scores

    def _sam3_scores(self, pixels: Tensor) -> list[Tensor]:
        """``(P, h, w)`` in parts; the image is encoded once for all prompts."""
        vision = self.model.get_vision_features(pixels)
        scores = []
        for tokens in self._groups():
            count = len(tokens["input_ids"])
            outputs = self.model(vision_embeds=_repeated(vision, count), **tokens)
            semantic = outputs.semantic_seg[:, 0].sigmoid()
            # In place: with 200 instances the masks are by far the largest tensor.
            instances = outputs.pred_masks.sigmoid_().mul_(outputs.pred_logits.sigmoid()[..., None, None])
            present = outputs.presence_logits.sigmoid().view(count, 1, 1)
            scores.append(torch.maximum(semantic, instances.amax(1)) * present)
        return scores


def _repeated(vision: Any, count: int) -> Any:
    """The features of one image as those of a batch of ``count`` equal ones."""
    repeated = type(vision)()
    for name, value in vision.items():
        if isinstance(value, tuple):
            repeated[name] = tuple(part.expand(count, *part.shape[1:]) for part in value)
        else:
            repeated[name] = value.expand(count, *value.shape[1:])
    return repeated


def _load(
    model: TextModel, weights: str, prompts: Sequence[str]
) -> tuple[Any, ImageInput, dict[str, Tensor]]:
    """Model, what it wants of images, and the tokens of the prompts ``(P, T)``."""
    try:
        import transformers
        from transformers.image_processing_base import ImageProcessingMixin
    except ImportError as error:
        fault = "need the package transformers"
        raise InputError("models that are asked in words", fault, "pip install 'medssl[images]'") from error
    remedy = "download them where there is internet and give the folder"
    try:
        config = transformers.AutoConfig.from_pretrained(weights)
        known = ("clipseg",) if model == "clipseg" else ("sam3", "sam3_video")
        if config.model_type not in known:
            fault = f"are of a model of type {config.model_type}, not of {model}"
            raise InputError(f"weights {weights}", fault, "name those of the model that is asked for")
        network: nn.Module = getattr(transformers, CLASS_OF[model]).from_pretrained(
            weights, dtype=torch.float32
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(weights)
        settings, _ = ImageProcessingMixin.get_image_processor_dict(weights)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
        raise InputError(f"weights {weights}", f"cannot be had ({first})", remedy) from error
    return network.eval(), _image_input(weights, settings, network), _tokens(prompts, tokenizer, network)


def _image_input(weights: str, settings: Mapping[str, Any], network: Any) -> ImageInput:
    size = settings.get("size") or network.config.vision_config.image_size
    if not isinstance(size, Mapping):  # as older files give it: of a square
        size = {"height": size, "width": size}
    if not {"height", "width"} <= set(size):
        fault = f"want images of the size {dict(size)}, which is not said by height and width"
        raise InputError(f"weights {weights}", fault, "give both in their preprocessor_config.json")
    mean, std = (tuple(settings.get(name) or (0.5,) * 3) for name in ("image_mean", "image_std"))
    if settings.get("do_center_crop"):
        fault = "crop images, so that maps would not cover them"
        raise InputError(f"weights {weights}", fault, "set do_center_crop to false in their preprocessor")
    return ImageInput(
        (int(size["height"]), int(size["width"])), mean, std, int(settings.get("resample") or 2)
    )


def _tokens(prompts: Sequence[str], tokenizer: Any, network: Any) -> dict[str, Tensor]:
    text_config = network.config.text_config
    longest = int(text_config.max_position_embeddings)
    tokens = tokenizer(list(prompts), padding="max_length", max_length=longest)
    for prompt, ids in zip(prompts, tokens["input_ids"], strict=True):
        if len(ids) > longest:
            fault = f"is longer than the {longest} tokens that the model reads"
            raise InputError(f"prompt {prompt!r}", fault, "shorten it")
    return {name: torch.tensor(tokens[name]) for name in ("input_ids", "attention_mask")}
