"""Writes trunks.zip: files of tiny ViTs as timm, Meta and Hugging Face save them, and outputs.

    pip install torch==2.13.0 timm==1.0.31 transformers==5.24.0   # in an environment of its own
    python tests/golden/make_trunks.py   # trunks.zip, which the tests read
    python tests/golden/make_trunks.py --real --out=/tmp/trunks   # ViT-S, for parity.py

Each model is drawn at random (nothing is downloaded), saved by its own library, and computed in
float64, so that none of its rounding is in the comparison. A folder holds the file, what lies
beside it, and expected.npz: `features` (the class token that the head is given) and, where the head
is that of the class token, `logits`, of the images in images.npz. Biases, tokens and LayerScale are
large, so that each of them counts.
"""

import argparse
import io
import json
import os
import tempfile
import zipfile
from argparse import Namespace
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import timm
import torch
import transformers as hf
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf

FOLDER = Path(__file__).parent
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
CLASSES = 5
TINY = {"hidden": 8, "heads": 2, "layers": 2, "mlp_ratio": 2, "patch": 4, "image": 20}
REAL = {"hidden": 384, "heads": 6, "layers": 12, "mlp_ratio": 4, "patch": 14, "image": 224}

# What a family's own class or options are, and how its files are made of a state dict.
TIMM = {
    "timm ViT, augreg": ("vit_small_patch16_224", {}),
    "timm DeiT": ("deit_small_patch16_224", {}),
    "timm DeiT, distilled": ("deit_small_distilled_patch16_224", {}),
    "timm DeiT-III": ("deit3_small_patch16_224", {}),
    "timm without qkv biases (miil)": ("vit_base_patch16_224_miil", {}),
    "timm DINOv2": ("vit_small_patch14_dinov2", {"num_classes": 0}),
    "timm DINOv2, 4 registers": ("vit_small_patch14_reg4_dinov2", {"num_classes": 0}),
}
META = {
    "Meta DINO, whole training": ("vit_small_patch16_224.dino", "dino"),
    "Meta MAE": ("vit_base_patch16_224.mae", "mae"),
    "Meta DINOv2, 4 registers": ("vit_small_patch14_reg4_dinov2", "dinov2"),
    "Meta DeiT-III": ("deit3_small_patch16_224", "deit3"),
}
HUGGING_FACE = {
    "Hugging Face ViT": (hf.ViTForImageClassification, hf.ViTConfig, {}),
    "Hugging Face DeiT, distilled": (
        hf.DeiTForImageClassificationWithTeacher, hf.DeiTConfig, {},
    ),
    "Hugging Face MAE": (hf.ViTMAEModel, hf.ViTMAEConfig, {"mask_ratio": 0.0}),
    "Hugging Face DINOv2": (hf.Dinov2Model, hf.Dinov2Config, {}),
    "Hugging Face DINOv2, 4 registers": (
        hf.Dinov2WithRegistersModel, hf.Dinov2WithRegistersConfig, {"num_register_tokens": 4},
    ),
}  # fmt: skip


def redraw(model: torch.nn.Module, rng: np.random.Generator, dtype: torch.dtype) -> None:
    """Fills a model with numbers that a type holds, of scales at which each of them matters."""
    for name, x in model.state_dict().items():
        value = rng.normal(size=tuple(x.shape))
        if "norm" in name and name.endswith("weight"):
            value = 1 + 0.2 * value
        elif any(part in name for part in ("gamma", "lambda")):
            value = 0.6 + 0.2 * value
        elif x.ndim in (2, 4) and "token" not in name:
            value /= np.sqrt(np.prod(x.shape[1:]))
        else:
            value *= 0.3
        x.copy_(torch.tensor(value).to(dtype))


def timm_model(name: str, sizes: dict, extra: dict) -> torch.nn.Module:
    options = {
        "img_size": sizes["image"],
        "patch_size": sizes["patch"],
        "embed_dim": sizes["hidden"],
        "depth": sizes["layers"],
        "num_heads": sizes["heads"],
        "mlp_ratio": sizes["mlp_ratio"],
        "num_classes": CLASSES,
    }
    return timm.create_model(name, **options | extra)


def timm_outputs(model: torch.nn.Module, images: torch.Tensor) -> dict[str, np.ndarray]:
    tokens = model.forward_features(images)
    features = tokens[:, 0]
    head = getattr(model, "head", None)
    outputs = {"features": features.numpy()}
    if isinstance(head, torch.nn.Linear):
        outputs["logits"] = head(features).numpy()
    return outputs


def write_config(model: torch.nn.Module, folder: Path, sizes: dict) -> None:
    """timm's own config.json, with our pixel values and number of heads."""
    given = {"num_heads": sizes["heads"]}
    save_config_for_hf(model, folder / "config.json", model_args=given, data_config=None)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"] |= {"mean": MEAN, "std": STD}
    (folder / "config.json").write_text(json.dumps(config))


def in_meta_s_form(state: dict, form: str, sizes: dict, rng: np.random.Generator) -> dict:
    """A state dict as a checkpoint of Meta's has it, with what else is in there."""

    def drawn(*shape: int) -> torch.Tensor:
        return torch.tensor(rng.normal(size=shape)).to(state["cls_token"].dtype)

    hidden = sizes["hidden"]
    if form == "dino":
        student = {f"module.backbone.{name}": x + 1 for name, x in state.items()}
        teacher = {f"backbone.{name}": x for name, x in state.items()}
        teacher |= {"head.mlp.0.weight": drawn(8, hidden), "head.last_layer.weight_v": drawn(9, 8)}
        optimizer = {"state": {0: {"exp_avg": drawn(3), "step": 7}}, "param_groups": [{"lr": 0.1}]}
        arguments = Namespace(arch="vit_small", patch_size=16, lr=0.0005)
        return {"student": student, "teacher": teacher, "optimizer": optimizer, "epoch": 3,
                "args": arguments}  # fmt: skip
    if form == "mae":
        decoder = {"mask_token": drawn(1, 1, 8), "decoder_pos_embed": drawn(1, 26, 8)}
        decoder |= {
            "decoder_embed.weight": drawn(8, hidden),
            "decoder_blocks.0.norm1.bias": drawn(8),
        }
        return {"model": state | decoder}
    if form == "dinov2":  # one position for the class token, registers without any, chunks
        state = dict(state)
        registers = state.pop("reg_token")
        state["cls_token"] = state["cls_token"] / 2  # exact, unlike any other share
        state["pos_embed"] = torch.cat([state["cls_token"], state["pos_embed"]], dim=1)
        state |= {"register_tokens": registers, "mask_token": drawn(1, hidden)}
        return {name.replace("blocks.", "blocks.0."): x for name, x in state.items()}
    renamed = {"ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2"}
    for old, new in renamed.items():
        state = {name.replace(old, new): x for name, x in state.items()}
    return {"model": state}


def hugging_face_model(kind, config, sizes: dict, extra: dict) -> torch.nn.Module:
    options = {
        "hidden_size": sizes["hidden"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "intermediate_size": sizes["hidden"] * sizes["mlp_ratio"],
        "mlp_ratio": sizes["mlp_ratio"],
        "image_size": sizes["image"],
        "patch_size": sizes["patch"],
        "num_labels": CLASSES,
        "layer_norm_eps": 1e-6,
    }
    return kind(config(**options | extra))


def hugging_face_outputs(model: torch.nn.Module, images: torch.Tensor) -> dict[str, np.ndarray]:
    if isinstance(model, hf.ViTMAEModel):  # it shuffles the patches, which the class token ignores
        return {"features": model(images).last_hidden_state[:, 0].numpy()}
    body = getattr(model, model.base_model_prefix, model)
    features = body(images).last_hidden_state[:, 0]
    head = getattr(model, "classifier", getattr(model, "cls_classifier", None))
    outputs = {"features": features.numpy()}
    return outputs if head is None else outputs | {"logits": head(features).numpy()}


@torch.no_grad()
def write_all(out: Path, sizes: dict, dtype: torch.dtype) -> None:
    out.mkdir(exist_ok=True)
    rng = np.random.default_rng(20221126)
    side = sizes["image"]
    pixels = rng.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    np.savez(out / "images.npz", images=pixels, mean=MEAN, std=STD)
    images = torch.tensor((pixels / 255 - MEAN) / STD).permute(0, 3, 1, 2)
    named = {family: (name, extra, None) for family, (name, extra) in TIMM.items()}
    named |= {family: (name.partition(".")[0], {}, form) for family, (name, form) in META.items()}
    for family, (name, extra, form) in named.items():
        folder = out / family
        folder.mkdir(parents=True)
        headless = {"num_classes": 0} if form in ("dino", "mae", "dinov2") else {}
        model = timm_model(name, sizes, extra | headless)
        redraw(model, rng, dtype)
        state = {key: x.to(dtype) for key, x in model.state_dict().items()}
        write_config(model, folder, sizes)
        if form:
            saved = in_meta_s_form(state, form, sizes, rng)
            torch.save(saved, folder / "pytorch_model.bin")
        else:
            save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        outputs = timm_outputs(model.double().eval(), images)
        np.savez(folder / "expected.npz", **{x: y.astype("f4") for x, y in outputs.items()})
        print(family)
    for family, (kind, config, extra) in HUGGING_FACE.items():
        folder = out / family
        model = hugging_face_model(kind, config, sizes, extra)
        redraw(model, rng, dtype)
        model.to(dtype).save_pretrained(folder)
        pixel_values = {"image_mean": MEAN, "image_std": STD, "do_normalize": True}
        (folder / "preprocessor_config.json").write_text(json.dumps(pixel_values))
        outputs = hugging_face_outputs(model.double().eval(), images)
        np.savez(folder / "expected.npz", **{x: y.astype("f4") for x, y in outputs.items()})
        print(family)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.real:
        write_all(args.out, REAL, torch.float32)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_all(Path(folder), TINY, torch.float16)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in files:
                entry = zipfile.ZipInfo(str(path.relative_to(folder)))
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
    (args.out or FOLDER / "trunks.zip").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
