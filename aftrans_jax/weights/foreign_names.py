"""Module names of a plain ViT in timm, Meta and Hugging Face, and names of other models."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from aftrans_jax.weights.arrays import check_names


class Naming(NamedTuple):
    """Names of a plain ViT's modules in one library, with {} for the number of a block.

    Attributes:
      family: name of the naming in messages.
      patches: projection of patches; this and the first `norm1` identify the naming, and what
        precedes it in a file is the prefix of all modules but the heads.
      qkv: queries, keys and values, in one module or three.
      scales: LayerScale's two vectors, by the names that files give them.
      registers, distillation: tokens after the class token.
      heads: classifiers of the class token; the first one in the file is used.
      spare: patterns of arrays that do not affect the class token's features.
    """

    family: str
    patches: str
    cls: str
    positions: str
    norm: str
    norm1: str
    qkv: tuple[str, ...]
    out: str
    norm2: str
    fc1: str
    fc2: str
    scales: tuple[tuple[str, str], ...]
    registers: tuple[str, ...]
    distillation: str
    heads: tuple[str, ...]
    spare: tuple[str, ...]


_SPARE = (r"(embeddings\.)?mask_token", r"decoder.*", r"pooler\.dense\..*")
_HF_QKV = tuple(f"encoder.layer.{{}}.attention.attention.{x}" for x in ("query", "key", "value"))
_HF = Naming(
    family="Hugging Face's names",
    patches="embeddings.patch_embeddings.projection",
    cls="embeddings.cls_token",
    positions="embeddings.position_embeddings",
    norm="layernorm",
    norm1="encoder.layer.{}.layernorm_before",
    qkv=_HF_QKV,
    out="encoder.layer.{}.attention.output.dense",
    norm2="encoder.layer.{}.layernorm_after",
    fc1="encoder.layer.{}.intermediate.dense",
    fc2="encoder.layer.{}.output.dense",
    scales=(("encoder.layer.{}.layer_scale1.lambda1", "encoder.layer.{}.layer_scale2.lambda1"),),
    registers=("embeddings.register_tokens",),
    distillation="embeddings.distillation_token",
    heads=("classifier", "cls_classifier"),
    spare=(*_SPARE, r"distillation_classifier\..*"),
)
NAMINGS = (
    Naming(
        family="timm's names",
        patches="patch_embed.proj",
        cls="cls_token",
        positions="pos_embed",
        norm="norm",
        norm1="blocks.{}.norm1",
        qkv=("blocks.{}.attn.qkv",),
        out="blocks.{}.attn.proj",
        norm2="blocks.{}.norm2",
        fc1="blocks.{}.mlp.fc1",
        fc2="blocks.{}.mlp.fc2",
        scales=(
            ("blocks.{}.ls1.gamma", "blocks.{}.ls2.gamma"),
            ("blocks.{}.gamma_1", "blocks.{}.gamma_2"),
        ),
        registers=("reg_token", "register_tokens"),
        distillation="dist_token",
        heads=("head",),
        spare=(*_SPARE, r"head_dist\..*", r"(dino_|ibot_)?head\.(mlp|last_layer|\d+)\..*"),
    ),
    _HF,
    _HF._replace(
        family="Hugging Face's names of DINOv2",
        norm1="encoder.layer.{}.norm1",
        norm2="encoder.layer.{}.norm2",
        fc1="encoder.layer.{}.mlp.fc1",
        fc2="encoder.layer.{}.mlp.fc2",
    ),
)

# Names that reveal models of another function, and what they would need.
_FOREIGN: Mapping[str, str] = MappingProxyType(
    {
        r"(^|\.)layers\.\d+\.(blocks\.\d|downsample)|(^|\.)features\.\d+\.\d+\.attn\.": "is a Swin "
        "Transformer or another of several stages, where this trunk has one",
        r"rel(ative)?_pos": "has relative positions in its attention (BEiT), which this trunk's "
        "attention would have to add",
        r"\brope\b|rope\.|freqs|periods": "has rotary positions (RoPE), which this trunk's queries "
        "and keys would have to be turned by",
        r"embeddings\.patch_embeddings\.weight$": "is of DINOv3's kind, with rotary positions "
        "(RoPE), which this trunk's queries and keys would have to be turned by",
        r"mlp\.(w12|w3|weights_in|fc1_[gx]|gate_proj)\b": "has a gated MLP (SwiGLU), which this "
        "trunk's MLP is not",
        r"attn\.(q_norm|k_norm)\.": "normalises queries and keys (QK-norm), which this trunk "
        "does not",
        r"(attn|mlp)\.norm\.": "normalises inside attention or MLP, which this trunk does not",
        r"\b(attns|ffns)\.\d": "has blocks in parallel, where this trunk's follow each other",
        r"\bfc_norm\.": "averages the patches and normalises the mean (fc_norm), where this model "
        "classifies from the class token",
        r"\battn_?pool\.": "pools by attention (attn_pool), where this model classifies from the "
        "class token",
        r"\bpooler\.(layernorm|attn)": "averages the patches, where this model classifies from "
        "the class token",
        r"\b(norm_pre|ln_pre|pre_layrnorm)\.": "normalises the tokens before the first block "
        "(CLIP), which this trunk does not",
        r"attn\.(q_bias|v_bias)$": "is of BEiT's or EVA's kind, with rotary or relative positions",
        r"patch_embed(dings)?\.(conv|norm|proj\.\d|backbone)": "has more than one convolution or a "
        "norm before the first block",
        r"(^|\.)layer[1-4]\.\d+\.(conv|bn)\d|(^|\.)conv_stem\.|\.convolution\.weight$|"
        r"^stages\.\d+\.(blocks\.)?\d+\.(dwconv|conv_dw)\.": "is a ResNet or another convolutional "
        "network",
    }
)


def check_function(names: Iterable[str]) -> None:
    """Checks that no name reveals a model whose function this trunk does not compute.

    Raises:
      ValueError: a name does; the message says which function.
    """
    check_names(names, _FOREIGN, "a plain ViT with a class token")
