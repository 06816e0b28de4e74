"""The built-in birds: one body shape, classes that differ only in crown colour and wing bars.

Place, scale, pose, plumage and background are random and carry no information; the background
has spots and strokes in the marks' colours. PIL draws at four times the size; then pixels are
averaged. The endless sequence of birds from one seed is called a flock.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from aftrans_jax.data.examples import Dataset, Example

CROWN_COLORS: tuple[str, ...] = ("red", "yellow", "green", "blue")
NUM_BARS: tuple[int, ...] = (1, 2, 3)
CROWN_RGB = np.array([(222, 38, 44), (250, 212, 36), (36, 178, 76), (40, 92, 232)])
BAR_RGB = np.array((250, 244, 226))

_SUPERSAMPLE = 4
_DISC = np.exp(1j * np.arange(20) * np.pi / 10)[:, None].view(float)  # [corners, 2] (x, y)
_SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
# Bird coordinates: about 1 from beak to tail, x towards the beak, y down, origin in the belly.
_WING = np.array([(19, -9), (15, -15), (2, -16), (-14, -11), (-38, 8), (-12, 9), (6, 8), (16, 2)])
_WING_CENTER = np.array((-0.02, -0.04))
_WING_TURN = np.array([(0.94, -0.34), (0.34, 0.94)])
_OUTLINE = np.array([(0.53, -0.2), (0.27, -0.44), (-0.58, 0.0), (-0.58, 0.24), (0.05, 0.38)])
_Part = tuple[np.ndarray, np.ndarray]  # the corners [corners, 2] of a polygon and its RGB [3]


class Bird(NamedTuple):
    """A drawn bird: its picture, its marks as indices, and their boxes (t, l, b, r) in pixels."""

    image: UInt8[np.ndarray, "height width 3"]
    crown: int
    bars: int
    crown_box: Float[np.ndarray, "4"]
    bars_box: Float[np.ndarray, "4"]
    box: Float[np.ndarray, "4"]  # around both marks, which alone determine the class


def _paint(canvas: Image.Image, parts: list[_Part], frame: np.ndarray) -> np.ndarray:
    """Returns the box (t, l, b, r) in final pixels; `frame` [3, 2]: x axis, y axis, origin."""
    # Whole pixels: the last bit of a sine differs between machines, the picture must not.
    pixels = np.rint(np.concatenate([at for at, _ in parts]) @ frame[:2] + frame[2]).astype(int)
    fills = np.stack([rgb for _, rgb in parts]).clip(0, 255).astype(int).tolist()
    draw = ImageDraw.Draw(canvas)
    flat = pixels.ravel().tolist()
    start = 0
    for (points, _), (red, green, blue) in zip(parts, fills, strict=True):
        draw.polygon(flat[start : start + points.size], fill=(red, green, blue))
        start += points.size
    (left, top) = pixels.min(0)
    (right, bottom) = pixels.max(0) + _SUPERSAMPLE
    return np.array((top, left, bottom, right), np.float32) // _SUPERSAMPLE


def _rotation(angle: np.ndarray | float) -> np.ndarray:
    cos = np.cos(angle)
    sin = np.sin(angle)
    return np.stack([cos, sin, -sin, cos], axis=-1).reshape(*np.shape(angle), 2, 2)


def _strip(start: np.ndarray | tuple, end: np.ndarray | tuple, width: float) -> np.ndarray:
    x, y = np.subtract(end, start) * (width / 2 / np.hypot(*np.subtract(end, start)))
    return np.array([start, start, end, end]) + np.array([(y, -x), (-y, x), (-y, x), (y, -x)])


def _scattered(
    rng: np.random.Generator, shape: np.ndarray, rgb: np.ndarray, smallest: tuple, largest: tuple
) -> list[_Part]:
    """Returns one shape in each colour, anywhere in 64 x 64, of random sizes between two (x, y)."""
    shapes = shape * rng.uniform(smallest, largest, (len(rgb), 1, 2))
    turned = shapes @ _rotation(rng.uniform(0, np.pi, len(rgb)))
    return list(zip(turned + rng.uniform(0, 64, (len(rgb), 1, 2)), rgb, strict=True))


def _tints(
    rng: np.random.Generator, rgb: tuple[int, int, int], fewest: int, most: int
) -> np.ndarray:
    """Returns a random number of shades [shades, 3] of a colour, some of them dark."""
    shades = rgb + rng.normal(0, 10, (rng.integers(fewest, most + 1), 3))
    return shades * rng.uniform(0.5, 1.2, (len(shades), 1))


def _background(rng: np.random.Generator, size: int) -> Image.Image:
    """Returns a canvas of clutter: gradient, blobs, twigs, leaves, spots and strokes like marks."""
    base = rng.uniform(80, 190) + rng.uniform(-1, 1.2) * np.array((-8, 14, -14))
    corners = base + rng.normal(0, 24, (3, 3, 1)) + rng.normal(0, 12, (3, 3, 3))
    gradient = Image.fromarray(corners.clip(0, 255).astype(np.uint8))
    gradient = gradient.resize((size, size), Image.Resampling.BICUBIC)
    canvas = gradient.resize((size * _SUPERSAMPLE, size * _SUPERSAMPLE), Image.Resampling.NEAREST)

    # Very uneven shares of the crown colours, so that their totals say nothing about the crown.
    spots = rng.choice(len(CROWN_RGB), rng.integers(8, 22), p=rng.dirichlet((0.7,) * 4))
    clutter = [  # sizes in 64ths of the picture's side
        *_scattered(
            rng, _DISC, corners[rng.integers(0, 3, 5), rng.integers(0, 3, 5)], (4, 4), (14, 14)
        ),
        *_scattered(rng, _SQUARE, _tints(rng, (112, 84, 60), 1, 3), (90, 0.4), (90, 1.1)),
        *_scattered(rng, _DISC, _tints(rng, (96, 140, 70), 6, 13), (3, 1), (6, 2.2)),
        *_scattered(rng, _DISC, CROWN_RGB[spots], (1, 1), (3, 3)),
        *_scattered(
            rng, _SQUARE, BAR_RGB + np.zeros((rng.integers(3, 14), 1)), (1.5, 0.5), (3, 0.8)
        ),
    ]
    _paint(canvas, clutter, np.eye(3, 2) * canvas.width / 64)
    return canvas


def _plumage(rng: np.random.Generator, head: np.ndarray, tail: np.ndarray) -> list[_Part]:
    """Returns the perch and the bird without its marks."""
    greys = rng.uniform((90, 34, 50), (190, 66, 110))
    coat, wing, horn = greys[:, None] + rng.uniform(-28, 28, (3, 3))
    belly = coat + rng.uniform(20, 60)
    wood = np.array((104, 78, 56)) * rng.uniform(0.6, 1.1)
    slope = rng.uniform(-0.3, 0.3)
    eye = head + np.array((0.05, 0.0))
    left, right = rng.uniform((-0.04, 0.05), (0.04, 0.13))  # where the feet stand
    return [
        (_strip((-3.0, 0.375 - slope), (3.0, 0.375 + slope), rng.uniform(0.04, 0.07)), wood),
        (_strip((-0.01, 0.12), (left, 0.36), 0.028), horn),
        (_strip((0.08, 0.12), (right, 0.36), 0.028), horn),
        (_strip((-0.16, 0.02), tail, 0.1), wing * 1.2),
        (_strip((0.09, -0.05), head, 0.23), coat),
        (_DISC * (0.29, 0.185) @ _rotation(-0.3), coat),
        (_DISC * (0.2, 0.105) @ _rotation(-0.35) + 0.06, belly),
        (_WING / 100, wing),
        (np.array([(0.08, -0.05), (0.23, 0.015), (0.08, 0.06)]) + head, horn),
        (_DISC * 0.13 + head, coat),
        (_DISC * 0.037 + eye, belly),
        (_DISC * 0.027 + eye, np.array((16, 14, 14))),
    ]


def _marks(head: np.ndarray, length: float, crown: int, bars: int) -> list[list[_Part]]:
    """Returns the crown, 5-7 px wide at 64 px, and the bars, 3 px apart, whatever the length."""
    half, gap = np.clip((0.12 * length, 0.095 * length), (2.4, 2.8), (3.4, 3.3)) / length
    cap = _DISC[10:] * half + head - np.array((0.01, 0.07))
    bar = _SQUARE * (0.22 * gap, 0.085) @ _WING_TURN + _WING_CENTER
    step = gap * _WING_TURN[0]
    strokes = [(bar + (rank - bars / 2) * step, BAR_RGB) for rank in range(NUM_BARS[bars])]
    return [[(cap, CROWN_RGB[crown])], strokes]


def draw_bird(
    seed: int, index: int, *, size: int = 64, crown: int | None = None, bars: int | None = None
) -> Bird:
    """Returns bird `index` of the flock `seed` (both >= 0), [size, size, 3].

    `crown` and `bars` index `CROWN_COLORS` and `NUM_BARS`; None draws one uniformly. They only
    change the marks: the rest is a pure function of (seed, index, size).

    Raises:
      ValueError: `size` is below 32, or `crown` or `bars` is out of range.
    """
    rng = np.random.default_rng((seed, index))
    random_marks: list[int] = rng.integers(0, (len(CROWN_COLORS), len(NUM_BARS))).tolist()
    crown = random_marks[0] if crown is None else crown
    bars = random_marks[1] if bars is None else bars
    if size < 32 or crown not in range(len(CROWN_COLORS)) or bars not in range(len(NUM_BARS)):
        problem = f"cannot draw a bird of size={size}, crown={crown}, bars={bars}"
        raise ValueError(f"{problem}: pass size >= 32, crown in 0..3 and bars in 0..2")
    canvas = _background(rng, size)
    length = rng.uniform(28, 47)  # 64ths of the side, beak to tail
    head, tail = rng.uniform([(0.24, -0.27), (-0.55, 0.02)], [(0.3, -0.18), (-0.55, 0.2)])
    flip = (rng.choice((-1.0, 1.0)), 1.0)
    scale = length / 64 * canvas.width
    matrix = _rotation(rng.uniform(-0.3, 0.3)) * flip * scale
    reach = _OUTLINE @ matrix
    frame = np.vstack([matrix, rng.uniform(6 - reach.min(0), canvas.width - 6 - reach.max(0))])
    _paint(canvas, _plumage(rng, head, tail), frame)
    crown_mark, bars_mark = _marks(head, length, crown, bars)
    crown_box = _paint(canvas, crown_mark, frame)
    bars_box = _paint(canvas, bars_mark, frame)
    box = np.concatenate([np.minimum(crown_box, bars_box)[:2], np.maximum(crown_box, bars_box)[2:]])
    return Bird(np.asarray(canvas.reduce(_SUPERSAMPLE)), crown, bars, crown_box, bars_box, box)


class SyntheticBirds:
    """The first `num_images` of a flock, drawn at first use and kept; label = crown * 3 + bars.

    Labels come in shuffled rounds of all 12 classes, so that their numbers differ by at most one.
    """

    def __init__(self, num_images: int, seed: int, size: int) -> None:
        self._seed = seed
        self._size = size
        rng = np.random.default_rng(seed)
        num_classes = len(CROWN_COLORS) * len(NUM_BARS)
        rounds = [rng.permutation(num_classes) for _ in range(0, num_images, num_classes)]
        self.labels: list[int] = np.ravel(rounds).astype(int).tolist()[:num_images]
        self._drawn: dict[int, Example] = {}
        self.names = tuple(f"bird_{seed}_{index:05d}" for index in range(num_images))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        index = range(len(self))[index]
        if index not in self._drawn:
            crown, bars = divmod(self.labels[index], len(NUM_BARS))
            bird = draw_bird(self._seed, index, size=self._size, crown=crown, bars=bars)
            self._drawn[index] = Example(bird.image, self.labels[index], bird.box)
        return self._drawn[index]


def synthetic_dataset(
    *, num_train: int = 480, num_test: int = 1500, image_size: int = 64, seed: int = 0
) -> Dataset:
    """Returns the built-in set of 12 classes; images are uint8 [image_size, image_size, 3].

    Train is from the flock 2 * seed, test from the flock 2 * seed + 1.
    """
    words = ("one bar", "two bars", "three bars")
    class_names = tuple(f"{color} crown, {bars}" for color in CROWN_COLORS for bars in words)
    train = SyntheticBirds(num_train, 2 * seed, image_size)
    test = SyntheticBirds(num_test, 2 * seed + 1, image_size)
    return Dataset("synthetic", train, test, class_names)
