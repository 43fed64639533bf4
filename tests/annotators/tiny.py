"""CLIPSeg and SAM 3 as small as they go, saved as the published ones are, with a tokenizer of letters."""

import json
import string

import torch
import transformers
from transformers import CLIPTokenizer

LENGTH = 16
SIZE = {"clipseg": 32, "sam3": 56}


def save_tokenizer(folder):
    """Every letter is a token, at a word's end another one."""
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    vocab = {
        word: index for index, word in enumerate(["<pad>", "<|startoftext|>", "<|endoftext|>", *letters])
    }
    tokenizer = CLIPTokenizer(vocab=vocab, merges=[], pad_token="<pad>", model_max_length=LENGTH)
    tokenizer.save_pretrained(folder)
    return {"vocab_size": len(vocab), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def text_config(words):
    return {
        **words,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": LENGTH,
    }


def clipseg(words):
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": SIZE["clipseg"],
        "patch_size": 8,
    }
    config = transformers.CLIPSegConfig(
        text_config=text_config(words),
        vision_config=vision,
        projection_dim=8,
        extract_layers=[1, 2, 3],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    return transformers.CLIPSegForImageSegmentation(config)


def sam3(words):
    part = {"hidden_size": 16, "num_attention_heads": 2}
    layers = {**part, "num_layers": 1, "intermediate_size": 32}
    side = SIZE["sam3"] // 14
    config = transformers.Sam3Config(
        vision_config={
            "backbone_config": {
                **part,
                "model_type": "sam3_vit_model",
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "image_size": SIZE["sam3"],
                "pretrain_image_size": SIZE["sam3"],
                "window_size": 2,
                "global_attn_indexes": [1],
            },
            "fpn_hidden_size": 16,
            "backbone_feature_sizes": [[4 * side, 4 * side], [2 * side, 2 * side], [side, side]],
        },
        text_config={**text_config(words), "model_type": "clip_text_model", "projection_dim": 8},
        geometry_encoder_config=layers,
        detr_encoder_config=layers,
        detr_decoder_config={**layers, "num_queries": 5},
        mask_decoder_config=part,
    )
    return transformers.Sam3Model(config)


def save_model(name, folder, seed=0):
    """The model, which lies in the folder with all that goes with it."""
    torch.manual_seed(seed)
    words = save_tokenizer(folder)
    model = {"clipseg": clipseg, "sam3": sam3}[name](words).eval()
    with torch.no_grad():  # as they are made, all they say is nearly 0.5
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    model.save_pretrained(folder)
    side = SIZE[name]
    kind = {"clipseg": "ViTImageProcessor", "sam3": "Sam3ImageProcessor"}[name]
    settings = {
        "image_processor_type": kind,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 2,
        "size": {"height": side, "width": side},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return model
