"""From a configuration to the objects of a run; the only reader of configurations."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array
from ml_collections import ConfigDict
from tqdm import tqdm

from aftrans_jax.checks import check
from aftrans_jax.config import Config
from aftrans_jax.data.cub import read_cub
from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.loader import eval_batches, train_batches
from aftrans_jax.data.synthetic import synthetic_dataset
from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.pretrained import POSITIONS, fit_to_model, read_npz, resize_positions
from aftrans_jax.model.regions import Geometry, locate_region
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.model.vit import Baseline, ViT
from aftrans_jax.training import sharding
from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.training.evaluation import Evaluation, eval_step, evaluate
from aftrans_jax.training.loop import StepFn
from aftrans_jax.training.optimizer import learning_rate_schedule, sgd
from aftrans_jax.training.precision import PRECISIONS
from aftrans_jax.training.state import TrainState, create_state
from aftrans_jax.training.train_step import train_step

Model = AFTrans | Baseline


class Plan(NamedTuple):
    """How long and how often; `*_every` count batches, `batch_size` is over all devices.

    Choice: plain numbers, so that the run reads no configuration.
    """

    model_name: str
    dtype: str
    num_steps: int
    batch_size: int
    report_every: int
    save_every: int
    evaluate_every: int
    predict_from: str
    tensorboard: bool


class Experiment(NamedTuple):
    """What a run needs; every function is compiled at its first call.

    state: before the first step, on all devices. notes: what was changed to fit the weights.
    train_batches: number of the first batch -> endless global batches.
    evaluate: state -> evaluation of the whole test split.

    Choice: the run reads this, never a configuration.
    """

    plan: Plan
    dataset: Dataset
    mesh: Mesh
    model: Model
    state: TrainState
    notes: tuple[str, ...]
    schedule: optax.Schedule
    train_step: StepFn
    train_batches: Callable[[int], Iterator[Mapping[str, Array]]]
    evaluate: Callable[[TrainState], Evaluation]


def build(config: Config) -> Experiment:
    """Returns the experiment that a configuration describes, weights loaded.

    Raises:
      ValueError: a value is unknown or does not go with the others.
      FileNotFoundError: the data or the weights are not where the configuration says.

    Choice: everything that can be wrong is found here, before the first step.
    """
    mesh = sharding.data_mesh()
    check(config, num_devices=mesh.size)
    dataset = DATASETS[config.data.name](config.data)
    precision = PRECISIONS[config.train.precision]()
    num_classes = len(dataset.class_names)
    model = build_model(config, num_classes, precision.dtype, mesh)
    params, notes = initial_params(config, build_model(config, num_classes, precision.dtype))
    schedule, optimizer = build_optimizer(config)
    state = create_state(params, optimizer, precision.loss_scale)
    rules = {
        "model": model,
        "loss_weights": {"global": config.loss.alpha, "local": config.loss.beta},
        "predict_from": config.eval.logits,
    }
    return Experiment(
        _plan(config, precision.dtype),
        dataset,
        mesh,
        model,
        sharding.replicate(jax.device_get(state), mesh),
        notes,
        schedule,
        _compile(partial(train_step, optimizer=optimizer, **rules), config.seed, mesh),
        partial(_train_batches, config, dataset, mesh),
        _evaluator(config, dataset, mesh, partial(eval_step, **rules)),
    )


def build_optimizer(config: Config) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """Returns the learning rate by step, and the optimizer that follows it.

    Paper: section 4.2 names SGD; TransFG's recipe fills in what it does not say.
    """
    schedule = learning_rate_schedule(
        peak=config.train.learning_rate,
        warmup_steps=config.train.warmup_steps,
        num_steps=config.train.steps,
    )
    optimizer = sgd(
        schedule,
        momentum=config.train.momentum,
        clip_norm=config.train.clip_norm,
        weight_decay=config.train.weight_decay,
    )
    return schedule, optimizer


class Trained(NamedTuple):
    """A model as a run left it: module, parameters, names of its classes, and image sizes.

    sizes: `image_size` and `resize_size`, as `data.transforms.test_transform` takes them.

    Choice: the working directory says everything, so a user names nothing else.
    """

    model: Model
    params: Mapping[str, Any]
    class_names: tuple[str, ...]
    sizes: Mapping[str, int]


def load_trained(workdir: Path) -> Trained:
    """Returns the model of a working directory at its newest checkpoint, for one device.

    Raises:
      FileNotFoundError: no run has left a configuration and a checkpoint there.
      ValueError: no checkpoint can be used.

    Choice: float32, since prediction has no training's haste.
    """
    try:
        config: Config = ConfigDict(
            json.loads((workdir / "config.json").read_text(encoding="utf-8"))
        )
        class_names = json.loads((workdir / "classes.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error.filename} is absent: --workdir must name the folder of a training run"
        ) from error
    model = build_model(config, len(class_names), jnp.dtype("float32"))
    loss_scale = PRECISIONS[config.train.precision]().loss_scale
    size = config.data.image_size

    def new_state() -> TrainState:
        images = jnp.zeros((1, size, size, 3), jnp.uint8)
        params = model.init(jax.random.key(0), images, train=False)["params"]
        return create_state(params, build_optimizer(config)[1], loss_scale)

    template = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(new_state))
    checkpoints = Checkpoints(workdir / "checkpoints", best_score="")
    state = checkpoints.restore_latest(template)
    checkpoints.close()
    if state is None:
        raise FileNotFoundError(f"{checkpoints.directory} holds no checkpoint: train first")
    return Trained(model, state.params, tuple(class_names), _sizes(config))


def _plan(config: Config, dtype: jnp.dtype) -> Plan:
    return Plan(
        model_name=config.model.name,
        dtype=dtype.name,
        num_steps=config.train.steps,
        batch_size=config.train.batch_size,
        report_every=config.train.report_every,
        save_every=config.train.save_every,
        evaluate_every=config.eval.every,
        predict_from=config.eval.logits,
        tensorboard=config.report.tensorboard,
    )


def _synthetic(data: Config) -> Dataset:
    return synthetic_dataset(
        num_train=data.num_train, num_test=data.num_test, image_size=data.image_size
    )


DATASETS: Mapping[str, Callable[[Config], Dataset]] = MappingProxyType(
    {"cub": lambda data: read_cub(data.dir), "synthetic": _synthetic}
)


def _aftrans(config: Config, vit: ViT, mesh: Mesh | None) -> AFTrans:
    locate = partial(
        locate_region,
        method=config.region.method,
        geometry=Geometry(vit.image_size, vit.variant.patch_size, vit.stride),
        min_box=config.region.min_box,
    )
    return AFTrans(
        vit=vit,
        locate=locate if mesh is None else sharding.per_device(locate, mesh),
        local_size=config.data.local_size,
        keep_ratio=config.sacm.keep_ratio,
        reduction=config.sacm.reduction,
        head_fusion=config.sacm.head_fusion,
        descriptor=config.sacm.descriptor,
        selection=config.sacm.selection,
        gate_gradient=config.sacm.gate_gradient,
    )


def _baseline(config: Config, vit: ViT, mesh: Mesh | None) -> Baseline:
    del config, mesh
    return Baseline(vit)


MODELS: Mapping[str, Callable[[Config, ViT, Mesh | None], Model]] = MappingProxyType(
    {"aftrans": _aftrans, "vit": _baseline}
)


def build_model(
    config: Config, num_classes: int, dtype: jnp.dtype, mesh: Mesh | None = None
) -> Model:
    """Returns the model that `model.name` names, on the trunk that the other keys describe.

    Args:
      config: of the run.
      num_classes: from the data.
      dtype: of the computation.
      mesh: of the devices that share a batch, None on a single device.

    Choice: the baseline differs from AFTrans by one name.
    """
    vit = ViT(
        variant=VARIANTS[config.model.variant],
        num_classes=num_classes,
        image_size=config.data.image_size,
        stride=config.model.stride,
        gelu=config.model.gelu,
        mean=tuple(config.data.mean),
        std=tuple(config.data.std),
        dropout=config.model.dropout,
        stochastic_depth=config.model.stochastic_depth,
        dtype=dtype,
    )
    return MODELS[config.model.name](config, vit, mesh)


def initial_params(config: Config, model: Model) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the parameters before training, and notes on how the npz was made to fit.

    The local branch's class token and positions start as the trunk's own.

    Raises:
      FileNotFoundError, ValueError: from `pretrained.read_npz` and `pretrained.fit_to_model`.

    Paper: section 4.2, ViT-B/16 pretrained on ImageNet-21k.
    """
    # Read first: a file that is absent or damaged is told of before anything is compiled.
    arrays = read_npz(config.pretrained) if config.pretrained else None
    size = config.data.image_size
    images = jnp.zeros((1, size, size, 3), jnp.uint8)
    init = jax.jit(partial(model.init, train=False))  # compiled, so that only shapes are traced
    params = jax.device_get(init(jax.random.key(config.seed), images)["params"])
    if arrays is None:
        return params, ("random weights: pretrained is empty",)
    pretrained = fit_to_model(arrays, params["vit"])
    params["vit"] = {**params["vit"], **pretrained.params}
    if "local" in params:
        positions = np.asarray(arrays[POSITIONS], np.float32)
        num_tokens = params["local"]["pos_embedding"].shape[1]
        params["local"] = {
            "cls": params["vit"]["cls"],
            "pos_embedding": resize_positions(positions, num_tokens),
        }
    return params, pretrained.notes


def _compile(step: Callable, seed: int, mesh: Mesh) -> StepFn:
    whole, split = sharding.replicated(mesh), sharding.split_batch(mesh)
    compiled = jax.jit(
        step, in_shardings=(whole, split, whole), out_shardings=whole, donate_argnums=0
    )
    rng = sharding.replicate(jax.random.key_data(jax.random.key(seed)), mesh)
    return lambda state, batch: compiled(state, batch, jax.random.wrap_key_data(rng))


def _train_batches(
    config: Config, dataset: Dataset, mesh: Mesh, start: int
) -> Iterator[Mapping[str, Array]]:
    batches = train_batches(
        dataset.train,
        batch_size=config.train.batch_size,
        seed=config.seed,
        start_step=start,
        num_threads=config.data.num_threads,
        **_reading(config),
    )
    return sharding.to_devices(batches, mesh)


def _evaluator(
    config: Config, dataset: Dataset, mesh: Mesh, step: Callable
) -> Callable[[TrainState], Evaluation]:
    whole, split = sharding.replicated(mesh), sharding.split_batch(mesh)
    compiled = jax.jit(step, in_shardings=(whole, split), out_shardings=(whole, split))
    # Every device gets equally many rows; padding is masked, so the size may be rounded up.
    batch_size = -(-config.eval.batch_size // mesh.size) * mesh.size
    num_test = len(dataset.test)
    shown = np.linspace(0, num_test - 1, min(config.report.num_images, num_test))
    keep = set(shown.round().astype(int).tolist())

    bar = {"desc": "evaluating", "total": -(-num_test // batch_size), "leave": False}
    bar["disable"] = None  # shown on a terminal only

    def run(state: TrainState) -> Evaluation:
        batches = eval_batches(
            dataset.test,
            batch_size=batch_size,
            num_threads=config.data.num_threads,
            **_reading(config),
        )
        return evaluate(
            partial(compiled, state.params),
            sharding.to_devices(tqdm(batches, **bar), mesh),
            keep=keep,
            batch_size=batch_size,
        )

    return run


def _sizes(config: Config) -> dict[str, int]:
    size = config.data.image_size
    return {"image_size": size, "resize_size": round(size * config.data.resize_ratio)}


def _reading(config: Config) -> dict[str, int]:
    rows = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    return _sizes(config) | rows
