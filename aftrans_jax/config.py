"""Every key, its help, its default and where that is from. Configs in `configs/` change some."""

from typing import Any

from ml_collections import ConfigDict

from aftrans_jax.paths import expand

# What functions that read a configuration take: to a type checker, each value of a ConfigDict could
# be of any plain type.
Config = Any


def expand_paths(config: Config) -> None:
    """Replaces `~` and `$VARIABLE` in the paths of a configuration, as a shell would.

    Raises:
      ValueError: see `paths.expand`.
    """
    config.pretrained = expand(config.pretrained)
    config.data.dir = expand(config.data.dir)


def base_config() -> Config:
    """Returns the configuration that every file in `configs/` starts from, locked.

    Defaults live here and nowhere else; an unknown key is an error. The comment above or beside a
    key is its help: what it is, its unit, and its values as "a | b (when)". What follows "Choice:"
    or "Paper:" there says where the default is from, and is no help. Where the paper is silent,
    most are TransFG's.
    """
    config: Config = ConfigDict()
    config.seed = 0  # of new weights, order of the images, augmentation and dropout
    # A ViT's weights: a file (npz, safetensors, PyTorch), its folder, an official name such as
    # imagenet21k/ViT-B_16, or hf:OWNER/MODEL; or a whole model, as export --format=aftrans writes
    # it; empty: random ones.
    config.pretrained = ""
    # Classifier at the start: new (zeros) | keep (that of the file, made for the same classes).
    config.pretrained_head = "new"

    config.model = ConfigDict()  # the network
    # What is trained: aftrans | vit (the trunk alone) | transfg (with loss.contrastive=1) | rams.
    config.model.name = "aftrans"
    # Size of the trunk: auto (that of the weights; b16 without) | mini8 | ti16 | s16 | s32 |
    # s8 | b16 | b32 | b8 | l16 | l32 | h14 | s14 | b14 | l14 | s14_reg4 | b14_reg4 | l14_reg4 |
    # ti16_reg1 | s16_reg1 | b16_reg1.
    config.model.variant = "auto"  # Paper: section 3.2 has b16
    # Px from one patch to the next; 0: the patch size (no overlap), or a whole model's own stride.
    config.model.stride = 0  # Choice: no overlap; section 3.2: patches of 16 px every 12 px
    # Form of the GELU: auto (that of the weights) | tanh (official npz) | exact (DeiT).
    config.model.gelu = "auto"
    # Attention kernel: auto (fused where possible) | xla | cudnn (GPU) | splash (TPU).
    config.model.attention = "auto"
    # Dropout rate in the trunk.
    config.model.dropout = 0.0  # Choice: no dropout, where TransFG has 0.1; the paper is silent
    # Stochastic depth (drop path): probability that a residual branch of the last block is dropped
    # for an image; it grows linearly from 0 in the first block.
    config.model.stochastic_depth = 0.0
    # Gradient checkpointing, what the backward pass computes again to save memory: none | products
    # (all but products with parameters) | blocks (all but each block's input).
    config.model.remat = "none"

    config.data = ConfigDict()  # the images
    # Data set: cub | cars | dogs | inat17 | nabirds | folder | csv | tfds:NAME | synthetic (the
    # built-in birds).
    config.data.name = "cub"
    config.data.dir = ""  # folder of the images and lists; csv: the file; tfds: its data_dir
    config.data.supercategory = ""  # one part of inat17, such as Aves; empty: all
    config.data.test_fraction = 0.2  # share to test on, in a folder or csv without a test split
    config.data.validation_fraction = 0.0  # share of the training split to choose checkpoints by
    config.data.split_seed = 0  # decides which images these shares take, whatever the run's seed
    # An unreadable image: raise (ends the run) | skip (left out, and named).
    config.data.on_error = "raise"
    config.data.max_pixels = 100_000_000  # most pixels of an image file that is decoded
    config.data.cache = "none"  # keeps resized images: none | ram (in memory)
    # Side in px of what the global branch sees; 0: what the weights were trained at, 224 without;
    # for weights of more than 256 px the multiple of a patch nearest to 224.
    config.data.image_size = 0  # Choice: the weights'; section 3.2: 448
    # Side in px of the photo that a crop is cut from; 0: a whole model's own, or else twice
    # image_size's default, and no less than image_size.
    config.data.source_size = 0
    # Side in px of the crop; 0: a whole model's own, or else image_size's default.
    config.data.local_size = 0
    # Photos are squashed to a square of source_size times this, then cropped to source_size.
    config.data.resize_ratio = 1.0  # Paper: section 3.2
    # How training images are cropped: random (a window of source_size; the whole photo while
    # resize_ratio is 1) | resized (8 to 100 % of the area, resized).
    config.data.crop = "random"  # Choice: no crop at ratio 1; TransFG: 448 from 600 px
    # Augmentation of training images after crop and flip: none | autoaugment | randaugment (2
    # operations of magnitude 9).
    config.data.augment = "none"  # Choice: random flips alone; the paper names no augmentation
    config.data.erasing = 0.0  # random erasing: probability that a box of 2 to 33 % is erased
    # How a device mixes its images of a batch: none | mixup | cutmix | both (either, at random).
    config.data.mixing = "none"
    config.data.mixing_strength = 0.8  # a mixed image's shares are drawn from Beta(this, this)
    # An epoch takes: shuffle (each image once) | balanced (each class equally often).
    config.data.sampling = "shuffle"
    # Mean of each channel, of pixels scaled to [0, 1]; (): what the weights were trained with.
    config.data.mean = ()
    config.data.std = ()  # standard deviation of each channel, likewise
    config.data.num_train = 480  # training images of the built-in birds
    config.data.num_test = 1500  # test images of the built-in birds
    config.data.num_threads = 8  # threads that decode images ahead of the step

    config.sacm = ConfigDict()  # which patches matter, by attention
    # Share of the patches that is kept (lambda).
    config.sacm.keep_ratio = 0.2  # Choice: 0.2 of patches, by box IoU; section 3.2: 0.4 of pairs
    # How a layer's attention heads are fused: geometric (mean) | product | mean (arithmetic).
    config.sacm.head_fusion = "geometric"  # Paper: eq. 6 has product
    # What describes a layer to its gate: class_row (attention of the class token) | full_map (of
    # all tokens).
    config.sacm.descriptor = "class_row"  # Paper: eq. 9 pools whole maps
    # Patches that are kept: fused (best by the sum over layers) | union (in any of the best pairs
    # of layer and patch) | votes (in most of these pairs).
    config.sacm.selection = "fused"  # Paper: section 2.2.1 has union
    # Gates of the layers: straight_through (learned) | no_gradient (stay as drawn) | ones (none).
    config.sacm.gate = "straight_through"  # Choice: a box, as in section 2.2.2, has no gradient
    config.sacm.layers = ()  # numbers of the layers that are fused, 1 is the first; (): all
    # Layers for each hidden unit of the gates' network.
    config.sacm.reduction = 4  # Choice: 3 hidden units for 12 layers; section 2.2.1 gives no r

    config.region = ConfigDict()  # the box that is cropped
    # The box spans: largest_component | most_relevant_component | extreme_values (all that is
    # kept) | centred (control) | random (control) | whole (control) | annotated (evaluation alone).
    config.region.method = "largest_component"  # Paper: section 2.2.1, table 6
    # Shorter side that a box must have, in px of the global image (data.image_size), not of the
    # photo that a reported box is in; a box with a smaller one becomes the whole image.
    config.region.min_box = 32  # Choice: two patches, else the whole image; the paper is silent
    # How the crop is resized: antialiased (where it shrinks) | bilinear.
    config.region.resample = "antialiased"  # Choice: antialiased where a crop shrinks

    config.loss = ConfigDict()  # weights of its terms, and of classes
    # Weight of the global branch's cross-entropy.
    config.loss.alpha = 1.0  # Paper: section 3.2, whose "Eq13" is eq. 10
    config.loss.beta = 1.0  # weight of the local branch's cross-entropy. Paper: section 3.2
    config.loss.distill = 0.0  # weight of KL(local || global): the local branch teaches the global
    config.loss.contrastive = 0.0  # weight of TransFG's contrastive loss of the global features
    config.loss.label_smoothing = 0.0  # share of each target that is spread over all classes
    # Weight of a class: none | inverse (1 / its training images) | effective (inverse effective
    # number of them).
    config.loss.class_weights = "none"

    config.train = ConfigDict()  # length, optimizer, devices
    # Batches to train on; 0: train.epochs. On a command line, giving one sets the other to 0.
    config.train.steps = 10_000  # Choice: TransFG's number of steps; the paper gives none
    config.train.epochs = 0.0  # passes over the training images, where train.steps is 0
    # Batch size, over all devices.
    config.train.batch_size = 12  # Choice: 12 over all devices; section 3.2 does not say if per GPU
    config.train.accumulation_steps = 1  # gradients of how many parts of a batch are accumulated
    config.train.optimizer = "sgd"  # optimizer: sgd | adamw | lamb. Paper: section 3.2
    # Peak learning rate, after the warm-up; adamw takes 1e-5 to 1e-3.
    config.train.learning_rate = 0.03  # Choice: TransFG's learning rate; the paper gives none
    # Steps of linear warm-up; -1: a twentieth of all.
    config.train.warmup_steps = 500  # Paper: section 3.2
    # Momentum of sgd, b1 of adamw and lamb.
    config.train.momentum = 0.9  # Choice: TransFG's momentum; the paper says SGD alone
    # Largest global norm of the gradients, to which larger ones are clipped.
    config.train.clip_norm = 1.0  # Choice: TransFG's clipping; the paper names none
    # Weight decay of kernels; biases, norms and tokens have none.
    config.train.weight_decay = 0.0  # Paper: section 3.2
    # Layer-wise learning-rate decay, from each block to the one below; 1: one rate for all.
    config.train.layer_decay = 1.0
    # What trains beside the head, the local tokens and learned gates: all | head (nothing else) |
    # last:K (the last K blocks and the final norm) | norms (scale and bias of each).
    config.train.trainable = "all"
    # Decay of a moving average of the parameters (EMA), which is what is evaluated and exported,
    # such as 0.9998; 0: none.
    config.train.ema = 0.0
    # Early stopping, after this many evaluations on held-out images without improvement; 0: off.
    config.train.patience = 0
    # Precision of the computation: auto (bfloat16; float16 on NVIDIA GPUs without it; float32 on a
    # CPU) | bfloat16 | float16 | float32 (products in TF32 on NVIDIA GPUs since Ampere, in bfloat16
    # on TPUs).
    config.train.precision = "auto"  # Choice: bfloat16, no loss scale; section 3.2 has FP16
    # What each device holds of parameters, gradients and optimizer state: replicated (all) | fsdp
    # (a shard).
    config.train.sharding = "replicated"
    config.train.report_every = 10  # batches between two lines of progress
    config.train.save_every = 1000  # batches between two checkpoints
    config.train.profile = False  # traces 5 steps of each start by JAX's profiler, into profile/

    config.eval = ConfigDict()  # evaluation and prediction
    # Logits that predict: auto (aftrans: local, rams: sum, vit and transfg: global) | global |
    # local | sum.
    config.eval.logits = "auto"  # Choice: what wins on photos; section 2.2.2, table 4: global
    # Test-time augmentation: logits averaged over an image and its mirror image, at twice the cost.
    config.eval.mirror = False
    # As data.resize_ratio, of which the middle is read; 0: that of the training, 1: whole photos.
    config.eval.resize_ratio = 0.0
    config.eval.batch_size = 48  # images at a time, over all devices
    # Batches between two evaluations; 0: an epoch. The end is always evaluated.
    config.eval.every = 1000

    config.report = ConfigDict()  # the page report/index.html
    # Images that it shows, mistakes first; more where every class of up to 100 needs one; 0: none.
    config.report.num_images = 36
    config.report.tensorboard = True  # writes event files for TensorBoard

    return config.lock()


def recipe_config(
    argument: str, *, image_size: int = 448, resize_size: int = 600, augment: str = "none"
) -> Config:
    """Returns the base configuration, or with the paper's sizes or TransFG's recipe, locked.

    Args:
      argument: what follows the colon of `--config=configs/cub.py:recipe=paper`: nothing;
        "recipe=paper" for one global pass of 448 px, stride 12 and lambda 0.4; "recipe=transfg"
        for that pass from larger photos, with TransFG's batch and augmentation.
      image_size: side in pixels of TransFG's crop.
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
