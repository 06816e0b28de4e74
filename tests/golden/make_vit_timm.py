"""Writes vit_timm.npz and vit_timm_outputs.npz: a tiny vision transformer as timm computes it.

    pip install timm==1.0.31 torch==2.13.0   # in an environment of its own; no jax is needed
    python tests/golden/make_vit_timm.py

`vit_timm.npz` holds weights under the official names, `vit_timm_outputs.npz` images and what timm
makes of them with either GELU: `logits`, `class_token` (normalised, what the head is given) and
`class_rows` (the class token's attention to all tokens, [batch layers heads tokens]).

timm computes in float64, so its rounding is not in the comparison. The weights are numbers that
float16 holds: half the bytes, and the same in every type. Their scales let mistakes show: tokens
are small before the first LayerNorm, so that its epsilon counts, and no bias is zero.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

FOLDER = Path(__file__).parent
IMAGE_SIZE, PATCH_SIZE, STRIDE, CLASSES = 48, 8, 5, 7
HIDDEN, MLP_RATIO, LAYERS, HEADS = 32, 2, 3, 4
NUM_TOKENS = 1 + ((IMAGE_SIZE - PATCH_SIZE) // STRIDE + 1) ** 2
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)  # of a channel each, so that their order matters
GELUS = {"tanh": partial(torch.nn.GELU, approximate="tanh"), "exact": torch.nn.GELU}
BLOCK = "Transformer/encoderblock_{}"


def draw_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random weights under the official names and in the official shapes."""
    head_dim, mlp = HIDDEN // HEADS, MLP_RATIO * HIDDEN
    arrays = {
        "embedding/kernel": rng.normal(0, 0.003, (PATCH_SIZE, PATCH_SIZE, 3, HIDDEN)),
        "embedding/bias": rng.normal(0, 0.02, HIDDEN),
        "cls": rng.normal(0, 0.05, (1, 1, HIDDEN)),
        "Transformer/posembed_input/pos_embedding": rng.normal(0, 0.02, (1, NUM_TOKENS, HIDDEN)),
        "head/kernel": rng.normal(0, 0.3, (HIDDEN, CLASSES)),
        "head/bias": rng.normal(0, 0.5, CLASSES),
    }
    norms = ["Transformer/encoder_norm"]
    for layer in range(LAYERS):
        block = BLOCK.format(layer)
        norms += [f"{block}/LayerNorm_0", f"{block}/LayerNorm_2"]
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for name in ("query", "key", "value"):
            arrays[f"{attention}/{name}/kernel"] = rng.normal(0, 0.25, (HIDDEN, HEADS, head_dim))
            arrays[f"{attention}/{name}/bias"] = rng.normal(0, 0.3, (HEADS, head_dim))
        arrays[f"{attention}/out/kernel"] = rng.normal(0, 0.2, (HEADS, head_dim, HIDDEN))
        arrays[f"{attention}/out/bias"] = rng.normal(0, 0.2, HIDDEN)
        for name, sizes in {"Dense_0": (HIDDEN, mlp), "Dense_1": (mlp, HIDDEN)}.items():
            arrays[f"{block}/MlpBlock_3/{name}/kernel"] = rng.normal(0, 0.2, sizes)
            arrays[f"{block}/MlpBlock_3/{name}/bias"] = rng.normal(0, 0.3, sizes[1])
    for norm in norms:
        arrays[f"{norm}/scale"] = rng.normal(1, 0.3, HIDDEN)
        arrays[f"{norm}/bias"] = rng.normal(0, 0.3, HIDDEN)
    return {name: array.astype(np.float16) for name, array in arrays.items()}


def timm_state(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The official arrays under timm's names and in PyTorch's layouts."""

    def dense(name: str) -> dict[str, np.ndarray]:
        return {"weight": arrays[f"{name}/kernel"].T, "bias": arrays[f"{name}/bias"]}

    def norm(name: str) -> dict[str, np.ndarray]:
        return {"weight": arrays[f"{name}/scale"], "bias": arrays[f"{name}/bias"]}

    modules = {
        "patch_embed.proj": {
            "weight": arrays["embedding/kernel"].transpose(3, 2, 0, 1),  # HWIO -> OIHW
            "bias": arrays["embedding/bias"],
        },
        "norm": norm("Transformer/encoder_norm"),
        "head": dense("head"),
    }
    for layer in range(LAYERS):
        block = BLOCK.format(layer)
        attention = f"{block}/MultiHeadDotProductAttention_1"
        parts = [f"{attention}/{name}" for name in ("query", "key", "value")]
        kernels = [arrays[f"{part}/kernel"].reshape(HIDDEN, HIDDEN).T for part in parts]
        modules |= {
            f"blocks.{layer}.norm1": norm(f"{block}/LayerNorm_0"),
            f"blocks.{layer}.norm2": norm(f"{block}/LayerNorm_2"),
            f"blocks.{layer}.attn.qkv": {
                "weight": np.concatenate(kernels),
                "bias": np.concatenate([arrays[f"{part}/bias"].ravel() for part in parts]),
            },
            f"blocks.{layer}.attn.proj": {
                "weight": arrays[f"{attention}/out/kernel"].reshape(HIDDEN, HIDDEN).T,
                "bias": arrays[f"{attention}/out/bias"],
            },
            f"blocks.{layer}.mlp.fc1": dense(f"{block}/MlpBlock_3/Dense_0"),
            f"blocks.{layer}.mlp.fc2": dense(f"{block}/MlpBlock_3/Dense_1"),
        }
    state = {f"{name}.{part}": x for name, parts in modules.items() for part, x in parts.items()}
    state["cls_token"] = arrays["cls"]
    state["pos_embed"] = arrays["Transformer/posembed_input/pos_embedding"]
    return {name: torch.tensor(array.astype(np.float64)) for name, array in state.items()}


def build_timm(gelu: str, state: dict[str, torch.Tensor]) -> VisionTransformer:
    """timm's model in float64; its LayerNorm has an epsilon of 1e-6 by itself, as flax's has."""
    model = VisionTransformer(
        img_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        num_classes=CLASSES,
        embed_dim=HIDDEN,
        depth=LAYERS,
        num_heads=HEADS,
        mlp_ratio=MLP_RATIO,
        act_layer=GELUS[gelu],
    )
    model.patch_embed.proj.stride = (STRIDE, STRIDE)  # timm's patches do not overlap
    model.pos_embed = torch.nn.Parameter(torch.zeros(1, NUM_TOKENS, HIDDEN))
    for block in model.blocks:
        block.attn.fused_attn = False  # else no map is formed
    model.double().eval().load_state_dict(state)
    return model


@torch.no_grad()
def outputs(model: VisionTransformer, images: np.ndarray) -> dict[str, np.ndarray]:
    """What timm computes of uint8 images."""
    rows = []
    for block in model.blocks:  # attn_drop is given the softmax, and does nothing in eval mode
        block.attn.attn_drop.register_forward_hook(lambda _, given, __: rows.append(given[0]))
    normalized = torch.tensor((images / 255 - MEAN) / STD).permute(0, 3, 1, 2)
    tokens = model.forward_features(normalized)
    return {
        "logits": model.forward_head(tokens).numpy(),
        "class_token": tokens[:, 0].numpy(),
        "class_rows": torch.stack([row[:, :, 0] for row in rows], dim=1).numpy(),
    }


def main() -> None:
    rng = np.random.default_rng(20220522)
    arrays = draw_weights(rng)
    images = rng.integers(0, 256, (2, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    golden = {"images": images, "mean": np.array(MEAN), "std": np.array(STD)}
    for gelu in GELUS:
        found = outputs(build_timm(gelu, timm_state(arrays)), images)
        golden |= {f"{gelu}/{name}": x.astype(np.float32) for name, x in found.items()}
    np.savez_compressed(FOLDER / "vit_timm.npz", **arrays)
    np.savez_compressed(FOLDER / "vit_timm_outputs.npz", **golden)


if __name__ == "__main__":
    main()
