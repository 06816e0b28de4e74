"""Every key, its default, and where the default comes from. Configs in `configs/` change some."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from aftrans_jax.paths import expand

# What functions that read a configuration take: to a type checker, each value of a ConfigDict could
# be of any plain type.
Config = Any

# Keys that may be left open, for `experiment.auto_settings` to set them: to the weights, where they
# are "auto", 0 or (), and to the number of training images.
LEFT_TO_WEIGHTS = (
    *("model.variant", "model.stride", "model.gelu"),
    *("data.image_size", "data.source_size", "data.local_size", "data.mean", "data.std"),
)
LEFT_TO_DATA = ("train.steps", "train.warmup_steps", "eval.every")


def is_left(key: str, value: Any) -> bool:
    """Returns whether a key has the value that leaves it open; lists are tuples."""
    if key in LEFT_TO_DATA:
        return value == (-1 if key == "train.warmup_steps" else 0)
    return key in LEFT_TO_WEIGHTS and value in ("auto", 0, (), [])


def packaged(path: Path, configs: Path) -> Path:
    """Returns the path of a file, or of `configs/...` that is not there, the package's own.

    Args:
      path: as a user gives it.
      configs: the package's folder of configurations.
    """
    if not path.is_file() and path.parent in (Path("configs"), Path("configs/studies")):
        return configs / path.relative_to("configs")
    return path


def get_config_of(path: Path) -> Callable[..., Config]:
    """Returns the function `get_config` of a configuration's file, which is run.

    Raises:
      ValueError: the file has none, or fails.
    """
    try:
        get = runpy.run_path(str(path)).get("get_config")
    except Exception as error:  # it may be any file, and what is in it may raise anything
        raise ValueError(
            f"{path} fails: {type(error).__name__}: {error}. Expected a configuration in Python, "
            "as configs/demo.py; for a run, give its --workdir alone"
        ) from error
    if get is None:
        raise ValueError(
            f"{path} has no get_config(): add one, as in configs/demo.py, or take another "
            "configuration (of a study: --config=FILE)"
        )
    return get


def expand_paths(config: Config) -> None:
    """Replaces `~` and `$VARIABLE` in the paths of a configuration, as a shell would.

    Raises:
      ValueError: see `paths.expand`.
    """
    config.pretrained = expand(config.pretrained)
    config.data.dir = expand(config.data.dir)


def base_config() -> Config:
    """Returns the configuration that every file in `configs/` starts from, locked.

    Defaults live here and nowhere else; an unknown key is an error. Comments say which
    defaults are the paper's and which are not; where it is silent, most are TransFG's.
    """
    config: Config = ConfigDict()
    config.seed = 0  # of weights, order, augmentation and dropout
    # File of a ViT (npz, safetensors, PyTorch), its folder, imagenet21k/ViT-B_16, augreg/..., or
    # hf:OWNER/MODEL; empty: random weights.
    config.pretrained = ""
    config.pretrained_head = "new"  # new: of zeros | keep: the file's, made for the same classes

    config.model = ConfigDict()
    config.model.name = "aftrans"  # vit: trunk alone | transfg: with loss.contrastive=1 | rams
    # auto: the weights' own, b16 without (Paper: section 3.2) | mini8 ti16 s16 b16 b32 l16 l32 h14
    # s14 b14 l14 s14_reg4 b14_reg4 l14_reg4 ti16_reg1 s16_reg1 b16_reg1.
    config.model.variant = "auto"
    # 0: a patch's side. Choice: no overlap; section 3.2: patches of 16 px every 12 px.
    config.model.stride = 0  # px from patch to patch
    config.model.gelu = "auto"  # auto: the weights' own | tanh: official npz | exact: DeiT
    config.model.attention = "auto"  # auto: fused where it can be | xla | cudnn: GPU | splash: TPU
    config.model.dropout = 0.0  # Choice: no dropout, where TransFG has 0.1; the paper is silent
    config.model.stochastic_depth = 0.0  # rate of the last block; 0 in the first
    # What the backward pass computes again, to save memory: none | products: all but products with
    # parameters | blocks: all but each block's input.
    config.model.remat = "none"

    config.data = ConfigDict()
    config.data.name = "cub"  # cars dogs inat17 nabirds folder csv tfds:NAME synthetic
    config.data.dir = ""  # folder of the images and lists; csv: the file; tfds: its data_dir
    config.data.supercategory = ""  # inat17 only: such as Aves; empty: all of them
    config.data.test_fraction = 0.2  # of folder and csv without a test split
    config.data.validation_fraction = 0.0  # of the training split, to choose checkpoints by
    config.data.split_seed = 0  # which images both fractions take, whatever the run's seed
    config.data.on_error = "raise"  # raise | skip: an unreadable image ends the run | is counted
    config.data.max_pixels = 100_000_000  # of an image file; one of more is not decoded
    config.data.cache = "none"  # none | ram: keeps the resized images in memory
    # px; 0: what the weights were trained at, 224 without. Choice: theirs; section 3.2: 448.
    config.data.image_size = 0  # global branch
    config.data.source_size = 0  # px of the photos; 0: twice the weights' where a crop is cut
    config.data.local_size = 0  # px, local branch; 0: what the weights were trained at
    config.data.resize_ratio = 1.0  # resized to ratio x source_size, cropped. Paper: section 3.2
    # In training. random: of source_size | resized: of 8 to 100 % of the area, then resized.
    config.data.crop = "random"  # TransFG's; the paper is silent
    # none | autoaugment, as TransFG for cars and iNat | randaugment: 2 operations of magnitude 9;
    # after crop and flip.
    config.data.augment = "none"  # Choice: random flips alone; the paper names no augmentation
    config.data.erasing = 0.0  # probability that a training image loses a box of 2 to 33 % of it
    # none | mixup | cutmix | both: either, by a coin. A device mixes its own rows of a batch.
    config.data.mixing = "none"
    config.data.mixing_strength = 0.8  # shares are drawn from Beta(strength, strength)
    # shuffle: each image once a pass | balanced: each class equally often.
    config.data.sampling = "shuffle"
    config.data.mean = ()  # of pixels scaled to [0, 1]; (): what the weights were trained with
    config.data.std = ()  # likewise
    config.data.num_train = 480  # built-in birds only
    config.data.num_test = 1500  # built-in birds only
    config.data.num_threads = 8  # that decode ahead of the step

    config.sacm = ConfigDict()
    config.sacm.keep_ratio = 0.2  # Choice: 0.2 of patches, by box IoU; section 3.2: 0.4 of pairs
    config.sacm.head_fusion = "geometric"  # geometric | product (eq. 6) | mean
    config.sacm.descriptor = "class_row"  # class_row | full_map (eq. 9)
    config.sacm.selection = "fused"  # fused | union (section 2.2.1) | votes
    config.sacm.gate = "straight_through"  # straight_through | no_gradient (2.2.2) | ones
    config.sacm.layers = ()  # numbers of the layers that are fused, 1 is the first; (): all
    config.sacm.reduction = 4  # Choice: 3 hidden units for 12 layers; section 2.2.1 gives no r

    config.region = ConfigDict()
    # largest_component | most_relevant_component | extreme_values; controls: centred | random |
    # whole; annotated: evaluation alone.
    config.region.method = "largest_component"  # Paper: section 2.2.1, table 6
    config.region.min_box = 32  # px. Choice: two patches, else the whole image; the paper is silent
    config.region.resample = "antialiased"  # or bilinear. Choice: antialiased where a crop shrinks

    config.loss = ConfigDict()
    config.loss.alpha = 1.0  # of the global loss. Paper: section 3.2, whose "Eq13" is eq. 10
    config.loss.beta = 1.0  # of the local loss. Paper: section 3.2
    config.loss.distill = 0.0  # of KL(local || global): the local branch teaches the global one
    config.loss.contrastive = 0.0  # of TransFG's contrastive loss of the global features

    config.loss.label_smoothing = 0.0  # share of each target that is spread over all classes
    # none | inverse: of the images of a class | effective: of their effective number, beta 0.999.
    config.loss.class_weights = "none"

    config.train = ConfigDict()
    # 0: as many as train.epochs need.
    config.train.steps = 10_000  # Choice: TransFG's number of steps; the paper gives none
    config.train.epochs = 0.0  # passes over the training images, where train.steps is 0
    config.train.batch_size = 12  # Choice: 12 over all devices; section 3.2 does not say if per GPU
    config.train.accumulation_steps = 1  # parts that a device takes its rows in, to save memory
    config.train.optimizer = "sgd"  # sgd | adamw | lamb: b1 is momentum. Paper: section 3.2
    # adamw takes 1e-5 to 1e-3.
    config.train.learning_rate = 0.03  # Choice: TransFG's learning rate; the paper gives none
    config.train.warmup_steps = 500  # -1: a twentieth of the steps. Paper: section 3.2
    config.train.momentum = 0.9  # Choice: TransFG's momentum; the paper says SGD alone
    config.train.clip_norm = 1.0  # Choice: TransFG's clipping; the paper names none
    config.train.weight_decay = 0.0  # of kernels, not of biases, norms, tokens. Paper: section 3.2
    # Factor from each block's learning rate to that of the one below; embedding and tokens are
    # lowest. The final norm, the head, the SACM and the local branch's tokens have the full rate.
    config.train.layer_decay = 1.0
    # all | head: a linear probe | last:K: the last K blocks and the final norm | norms: scale and
    # bias of every norm. The head, the SACM and the local branch's tokens train with each of them.
    config.train.trainable = "all"
    # 0: none | decay of a moving average of the parameters, such as 0.9998, which is evaluated and
    # answers in their place; at step t at most (1 + t) / (10 + t).
    config.train.ema = 0.0
    # 0: trains all steps | ends after so many evaluations, one each eval.every, that were no better
    # on held-out images than one before.
    config.train.patience = 0
    # auto: bfloat16, float16 on NVIDIA GPUs without it, float32 on CPU | bfloat16 | float16 |
    # float32.
    config.train.precision = "auto"  # Choice: bfloat16, no loss scale; section 3.2 has FP16
    # replicated: every device holds the whole state | fsdp: each a part of every large array of
    # parameters, gradients, optimizer and average; parameters are gathered where they are read.
    config.train.sharding = "replicated"
    config.train.report_every = 10  # batches
    config.train.save_every = 1000  # batches

    config.eval = ConfigDict()
    # auto: local, of rams the sum, of one branch global | global | local | sum.
    config.eval.logits = "auto"  # Choice: what wins on photos; section 2.2.2, table 4: global
    # Answer by the mean of the logits of an image and of its mirror image, in twice the time.
    config.eval.mirror = False
    config.eval.batch_size = 48  # over all devices
    config.eval.every = 1000  # batches; 0: an epoch; the end is always evaluated

    config.report = ConfigDict()
    config.report.num_images = 36  # of report/index.html: mistakes, and every class
    config.report.tensorboard = True  # event files

    return config.lock()


def recipe_config(
    argument: str, *, image_size: int = 448, resize_size: int = 600, augment: str = "none"
) -> Config:
    """Returns the base configuration, with the paper's sizes or TransFG's recipe, locked.

    Args:
      argument: what follows the colon of `--config=configs/cub.py:recipe=paper`: nothing for the
        base configuration; "recipe=paper" for one global pass of 448 px, stride 12 and lambda 0.4;
        "recipe=transfg" for that pass from larger photos, with TransFG's batch and augmentation.
      image_size: side in pixels of TransFG's crop; the paper's is 448 in all experiments.
      resize_size: side in pixels to which TransFG resizes before it crops.
      augment: TransFG's augmentation of this data set, a value of `data.augment`.

    Raises:
      ValueError: there is no such recipe.

    Paper: section 3.2; bilinear crops and global logits, section 2.2.2.
    Follows: TransFG `get_loader` and its command for four GPUs with 16 images each.
    """
    config = base_config()
    if argument == "recipe=paper":
        _read_large(config, 448)
        config.data.local_size = 224
        config.sacm.keep_ratio = 0.4
        config.region.resample = "bilinear"
        config.eval.logits = "global"
    elif argument == "recipe=transfg":
        _read_large(config, image_size)
        config.data.resize_ratio = resize_size / image_size
        config.data.augment = augment
        config.data.mean = (0.485, 0.456, 0.406)
        config.data.std = (0.229, 0.224, 0.225)
        config.train.batch_size = 64
    elif argument:
        raise ValueError(
            f"{argument!r} is no recipe: expected recipe=paper or recipe=transfg after the colon, "
            "such as --config=configs/cub.py:recipe=transfg"
        )
    return config


def _read_large(config: Config, image_size: int) -> None:
    config.model.stride = 12
    config.data.image_size = config.data.source_size = image_size
