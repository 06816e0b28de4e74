"""PyTorch's side does the work that ours does, and both say what memory they took."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import CLASSES, IMAGE_SIZE, LOCAL_SIZE, STRIDE, VARIANT, random_params

from aftrans_jax.model.vit import ViT
from benchmarks.claims.torch_peer import Side, ratios, serve
from benchmarks.harness.figures import Figure
from benchmarks.models.cases import TwoPasses, flops


@pytest.fixture(scope="module")
def peer():
    """The modules that need PyTorch, which is no requirement of this project."""
    pytest.importorskip("torch", reason="PyTorch is absent: `pip install torch` in a venv of both")
    import torch

    from benchmarks.pytorch import model, step

    torch.set_num_threads(1)
    return torch, model, step


@pytest.fixture(scope="module")
def subject():
    """Our two passes with parameters of ordinary size, other ones in every run."""
    seed = np.random.SeedSequence().entropy
    print(f"seed {seed}")  # shown when a test fails
    rng = np.random.default_rng(seed)
    vit = ViT(VARIANT, CLASSES, IMAGE_SIZE, STRIDE, gelu="tanh", mean=(0.5,) * 3, std=(0.5,) * 3)
    model = TwoPasses(vit, LOCAL_SIZE, keep_ratio=0.3, reduction=1, min_box=5)
    images = rng.integers(0, 256, (3, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    params = random_params(model, rng, images)
    return model, params, images, rng.integers(0, CLASSES, 3)


def ours_by_their_names(params) -> dict[str, np.ndarray]:
    """Our parameters, or gradients, arranged as PyTorch's."""
    vit, local = params["vit"], params["local"]
    encoder, hidden = vit["Transformer"], VARIANT.hidden
    found = {
        "embedding.weight": vit["embedding"]["kernel"].transpose(3, 2, 0, 1),
        "embedding.bias": vit["embedding"]["bias"],
        "cls.0": vit["cls"],
        "cls.1": local["cls"],
        "positions.0": encoder["posembed_input"]["pos_embedding"],
        "positions.1": local["pos_embedding"],
        "norm.weight": encoder["encoder_norm"]["scale"],
        "norm.bias": encoder["encoder_norm"]["bias"],
        "head.weight": vit["head"]["kernel"].T,
        "head.bias": vit["head"]["bias"],
    }
    for layer in range(VARIANT.layers):
        block, at = encoder[f"encoderblock_{layer}"], f"blocks.{layer}"
        attention = block["MultiHeadDotProductAttention_1"]
        parts = [attention[name] for name in ("query", "key", "value")]
        weights = [part["kernel"].reshape(hidden, hidden).T for part in parts]
        found[f"{at}.qkv.weight"] = np.concatenate(weights)
        found[f"{at}.qkv.bias"] = np.concatenate([part["bias"].ravel() for part in parts])
        found[f"{at}.out.weight"] = attention["out"]["kernel"].reshape(hidden, hidden).T
        found[f"{at}.out.bias"] = attention["out"]["bias"]
        for name, dense in (("mlp_in", "Dense_0"), ("mlp_out", "Dense_1")):
            found[f"{at}.{name}.weight"] = block["MlpBlock_3"][dense]["kernel"].T
            found[f"{at}.{name}.bias"] = block["MlpBlock_3"][dense]["bias"]
        for name, norm in (("norm_attention", "LayerNorm_0"), ("norm_mlp", "LayerNorm_2")):
            found[f"{at}.{name}.weight"] = block[norm]["scale"]
            found[f"{at}.{name}.bias"] = block[norm]["bias"]
    return {name: np.array(array) for name, array in found.items()}


@pytest.fixture(scope="module")
def their_model(peer, subject):
    torch, torch_model, _ = peer
    sizes = torch_model.Sizes(VARIANT, CLASSES, IMAGE_SIZE, LOCAL_SIZE, STRIDE)
    model = torch_model.TwoBranchViT(sizes, torch.float32)
    arrays = ours_by_their_names(subject[1])
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return model, torch.from_numpy(subject[2].transpose(0, 3, 1, 2).copy())


def test_logits_of_both_branches_are_ours(peer, subject, their_model):
    (_, _, torch_step), (model, params, images, _) = peer, subject
    ours = model.apply({"params": params}, images, train=True).logits
    for found, branch in zip(torch_step.two_passes(*their_model), ("global", "local"), strict=True):
        np.testing.assert_allclose(found.detach(), ours[branch], atol=1e-4)
    first, _ = torch_step.stored_maps(*their_model)
    np.testing.assert_allclose(first.detach(), ours["global"], atol=1e-4)


def test_gradients_are_ours(peer, subject, their_model):
    (torch, _, torch_step), (model, params, images, labels) = peer, subject

    def loss(params):
        logits = model.apply({"params": params}, images, train=True).logits.values()
        rows = jnp.arange(len(labels))
        return -sum(jax.nn.log_softmax(branch)[rows, labels].mean() for branch in logits)

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    torch_model, pixels = their_model
    torch_model.zero_grad()
    found = torch_step.loss(torch_step.two_passes, torch_model, pixels, torch.from_numpy(labels))
    found.backward()
    assert found.item() == pytest.approx(float(value), rel=1e-5)
    wanted = ours_by_their_names(gradient)
    for name, parameter in torch_model.named_parameters():
        bound = 1e-4 * np.abs(wanted[name]).max() + 1e-5
        np.testing.assert_allclose(parameter.grad, wanted[name], atol=bound, err_msg=name)


def test_flops_are_those_reported(peer, their_model):
    """PyTorch's own counter finds what we report, the heads' products apart."""
    torch, _, torch_step = peer
    from torch.utils.flop_counter import FlopCounterMode

    model, pixels = their_model
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        torch_step.stored_maps(model, pixels)
    wanted = sum(flops(VARIANT, side, STRIDE) for side in (IMAGE_SIZE, LOCAL_SIZE))
    wanted += 2 * 2 * VARIANT.hidden * CLASSES + torch_step.chain_flops(model.sizes)
    assert counter.get_total_flops() == len(pixels) * wanted


def test_flops_of_the_product_of_performance_section_1(peer):
    from aftrans_jax.model.variants import VARIANTS

    _, torch_model, torch_step = peer
    sizes = torch_model.Sizes(VARIANTS["b16"], 200, 448, 224, 12)
    assert torch_step.chain_flops(sizes) / 1e9 == pytest.approx(617, abs=0.5)


def test_the_product_of_maps_is_the_class_row_of_numpys(peer, rng):
    torch, _, torch_step = peer
    maps = rng.dirichlet(np.ones(10), size=(4, 2, 3, 10))  # layers batch heads tokens tokens
    wanted = (maps[2] @ maps[1] @ maps[0])[:, :, 0, 1:]
    np.testing.assert_allclose(torch_step.chain_row(list(torch.from_numpy(maps))), wanted)


def test_the_box_is_around_what_is_above_the_mean(peer, their_model):
    torch, _, torch_step = peer
    sizes = their_model[0].sizes  # 7 x 7 patches of 4 px, 3 px apart
    row = torch.zeros(2, 3, 7, 7)
    row[0, :, 1, 2], row[0, :, 4, 3], row[1, :, 6, 6] = 1.0, 2.0, 1.0
    boxes = torch_step.box_around(row.flatten(2), sizes)
    assert boxes.tolist() == [[3, 6, 16, 13], [18, 18, 22, 22]]


def test_a_crop_of_its_own_size_is_cut_out(peer, rng):
    torch, _, torch_step = peer
    images = torch.from_numpy(rng.random((2, 3, 22, 22), np.float32))
    boxes = torch.tensor([[3, 5, 17, 19], [8, 0, 22, 14]])
    crops = torch_step.crop(images, boxes, 14)
    for image, (top, left, bottom, right), found in zip(images, boxes.tolist(), crops, strict=True):
        np.testing.assert_allclose(found, image[:, top:bottom, left:right], atol=1e-5)


def test_steps_learn_and_compilation_that_fails_is_told_of(peer, their_model, monkeypatch):
    torch, _, torch_step = peer

    def refuse(function, **options):
        def fail(*args):
            raise torch._dynamo.exc.TorchDynamoException("no compiler here\nand so on")

        return fail

    monkeypatch.setattr(torch, "compile", refuse)
    sizes = their_model[0].sizes
    for name, note in (("eager", ""), ("compiled", "no compiler here")):
        step = torch_step.Step(name, sizes, 2, dtype="float32", device="cpu")
        assert step.note.endswith(note)
        assert bool(step.note) == bool(note)
        first = step()
        assert min(step() for _ in range(5)) < first


def test_ratios_are_of_what_ran():
    figures = {"ours, speed": Figure(50.0, "images/s"), "ours, memory": Figure(10, "bytes")}
    figures |= {
        "compiled, speed": Figure(40.0, "images/s"),
        "compiled, memory": Figure(20, "bytes"),
    }
    found = {name: figure.median for name, figure in ratios(figures).items()}
    assert found == {"ours / compiled, speed": 1.25, "ours / compiled, memory": 0.5}


def served(make) -> tuple[list, object]:
    """A side's messages and its result, for three steps."""
    told, answers = [], iter([True, True, True, False])

    def talk(value):
        told.append(value)
        return next(answers)

    return told, serve(make, (), talk)


def test_a_side_tells_its_memory():
    side = Side(lambda: np.ones(32 * 2**20, np.uint8).sum(), lambda: None, 1000, {"cores": 1})
    told, peak = served(lambda: side)
    assert told == [{"cores": 1}, None, None, None]
    assert 31 <= peak / 2**20 < 48
    assert served(lambda: side._replace(peak_bytes=lambda: 7))[1] == 7


def test_a_side_without_memory_says_nothing():
    def runs_out():
        raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")

    def breaks():
        raise RuntimeError("another reason")

    assert served(runs_out) == ([], None)
    with pytest.raises(RuntimeError, match="another reason"):
        served(breaks)
