"""Checkpoints as LLaVA's own trainer leaves them, small: its names, its config.json, no <image> in the vocabulary."""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file
from tests.parts import part

MODEL_TYPES = {
    "llama": ("LlavaLlamaForCausalLM", "llava_llama"),
    "mistral": ("LlavaMistralForCausalLM", "llava_mistral"),
    "qwen2": ("LlavaQwenForCausalLM", "llava_qwen"),
}


def original(folder, vision="clip", language="llama", connector="mlp2x_gelu", dtype=torch.float32, form="safetensors"):
    """A whole one, its encoder's weights and configuration in it. The config has what a released one has."""
    folder.mkdir(parents=True)
    weights = {name: tensor.to(dtype) for name, tensor in tensors(vision, language, connector).items()}
    (folder / "config.json").write_text(json.dumps(config(vision, language, connector, dtype)))
    for file in part(language).iterdir():
        if file.name.startswith(("tokenizer", "special")):
            shutil.copy(file, folder)
    encoder = folder / "vision_tower"
    encoder.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(part(vision) / name, encoder)
    names = list(weights)
    for index, some in enumerate((names[:30], names[30:]), 1):
        shard = {name: weights[name].clone() for name in some}
        if form == "safetensors":
            save_file(shard, folder / f"model-0000{index}-of-00002.safetensors")
        else:
            torch.save(shard, folder / f"pytorch_model-0000{index}-of-00002.bin")
    return folder


def tensors(vision, language, connector):
    """Every weight by its name in LLaVA's own code."""
    torch.manual_seed(7)
    voice = load_file(part(language) / "model.safetensors")
    eye = load_file(part(vision) / "model.safetensors")
    d_vision, d_model = eye["embeddings.patch_embedding.weight"].shape[0], voice["model.norm.weight"].shape[0]
    layers = {"linear": [""], "mlp2x_gelu": ["0.", "2."], "mlp3x_gelu": ["0.", "2.", "4."]}[connector]
    projector = {}
    for at, layer in enumerate(layers):
        projector[f"model.mm_projector.{layer}weight"] = torch.randn(d_model, d_model if at else d_vision)
        projector[f"model.mm_projector.{layer}bias"] = torch.randn(d_model)
    prefix = "model.vision_tower.vision_tower.vision_model."
    return {**voice, **projector, **{prefix + name: tensor for name, tensor in eye.items()}}


def config(vision, language, connector, dtype=torch.float32):
    theirs = json.loads((part(language) / "config.json").read_text())
    theta = theirs.pop("rope_parameters")["rope_theta"]
    architecture, model_type = MODEL_TYPES[language]
    return {
        **theirs,
        "_name_or_path": "llava-small",
        "architectures": [architecture],
        "model_type": model_type,
        "rope_theta": theta,
        "rope_scaling": None,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "transformers_version": "4.31.0",
        "freeze_mm_mlp_adapter": False,
        "image_aspect_ratio": "pad",
        "mm_hidden_size": 24 if vision == "siglip" else 32,
        "mm_projector_type": connector,
        "mm_resampler_type": None,
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": f"somebody/{vision}",
        "tune_mm_mlp_adapter": False,
        "use_mm_proj": True,
    }
