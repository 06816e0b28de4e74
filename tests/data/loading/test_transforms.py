"""Decoding against PIL and hand-made files; resizing against PIL; boxes against painted pixels."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import ks_2samp

from aftrans_jax.data.decoding.decode import decode_image
from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading import opencv, transforms
from aftrans_jax.data.sets.lists import read_text

FEW = settings(deadline=None, max_examples=25)
NO_BOX = np.full(4, np.nan, np.float32)
DECODERS = list(dict.fromkeys([opencv.CV2, None]))  # one only, where cv2 is absent


@pytest.fixture(autouse=True, scope="module", params=DECODERS, ids=["cv2", "pil"][-len(DECODERS) :])
def _decoder(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, "CV2", request.param)
        yield


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


ROWS, COLS = np.mgrid[:48, :80].astype(np.uint8)
SMOOTH = np.stack([ROWS * 3, COLS * 2, np.full_like(ROWS, 100)], axis=-1)  # JPEG keeps it


def file_bytes(kind="JPEG"):
    stream = io.BytesIO()
    Image.fromarray(noise(40, 60)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 100}])
def test_a_jpeg_decodes_as_pil_decodes_it(tmp_path, options):
    Image.fromarray(SMOOTH).save(tmp_path / "a.jpg", **options)
    decoded = decode_image(str(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(decoded, np.asarray(Image.open(tmp_path / "a.jpg")))
    assert np.abs(decoded.astype(int) - SMOOTH).max() < 12
    with open(tmp_path / "a.jpg", "ab") as file:
        file.write(bytes(100))  # what follows a whole JPEG does not matter
    np.testing.assert_array_equal(decode_image(tmp_path / "a.jpg"), decoded)


WIDE = np.array([[0, 255, 256], [0x7FFF, 0x8000, 0xFFFF]], np.uint16)
MODES = [  # (file, image, its pixels; one number stands for a grey one)
    *((f"a.{kind}", Image.fromarray(noise(5, 7)), noise(5, 7)) for kind in ("png", "bmp", "tiff")),
    *((f"a.{kind}", Image.new("RGB", (1, 1), (9, 9, 9)), [[[9, 9, 9]]]) for kind in ("png", "jpg")),
    *((f"a.{kind}", Image.new("L", (6, 4), 77), np.full((4, 6, 1), 77)) for kind in ("png", "jpg")),
    *(
        (f"a.{kind}", Image.fromarray(WIDE), WIDE[..., None] // 256)
        for kind in ("png", "tiff", "pgm")
    ),
    ("one_bit.png", Image.new("1", (6, 4), 1), np.full((4, 6, 1), 255)),
    ("alpha.png", Image.new("RGBA", (1, 1), (10, 20, 30, 0)), [[[255, 255, 255]]]),
    ("alpha_grey.png", Image.new("LA", (1, 1), (40, 128)), [[[147]]]),
    ("palette.png", Image.new("RGBA", (1, 1), (200, 100, 50, 128)).quantize(), [[[227, 177, 152]]]),
    ("cmyk.tiff", Image.new("CMYK", (1, 1), (0, 255, 255, 0)), [[[255, 0, 0]]]),
    ("cmyk.jpg", Image.new("CMYK", (1, 1), (255, 0, 0, 0)), [[[0, 255, 255]]]),
]


@pytest.mark.parametrize(("name", "image", "pixels"), MODES)
def test_every_kind_of_image_becomes_rgb(tmp_path, name, image, pixels):
    image.save(tmp_path / name)
    decoded = decode_image(tmp_path / name)
    assert decoded.shape == (image.height, image.width, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded - np.asarray(pixels, int)).max() <= 2 * name.endswith("jpg")


UPRIGHT = [
    *[lambda stored: stored] * 2,  # 0 is written by some cameras and means nothing
    lambda stored: stored[:, ::-1],
    lambda stored: stored[::-1, ::-1],
    lambda stored: stored[::-1],
    lambda stored: stored.swapaxes(0, 1),
    lambda stored: np.rot90(stored, -1),  # 6: a phone held upright, to be turned clockwise
    lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    np.rot90,
]


@pytest.mark.parametrize("orientation", range(9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, tolerance in (("a.jpg", 12), ("a.png", 0)):
        Image.fromarray(SMOOTH).save(tmp_path / name, exif=exif)
        expected = UPRIGHT[orientation](SMOOTH).astype(int)
        assert np.abs(decode_image(tmp_path / name) - expected).max() <= tolerance


@FEW
@given(share=st.floats(0, 0.99), kind=st.sampled_from(["JPEG", "PNG"]))
def test_a_truncated_file_is_an_error(tmp_path_factory, share, kind):
    path = tmp_path_factory.getbasetemp() / "bird 7.jpg"
    path.write_bytes(file_bytes(kind)[: int(share * len(file_bytes(kind)))])
    with pytest.raises(ValueError, match=r"bird 7\.jpg.*fetch it again"):
        decode_image(path)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "bird.jpg").write_bytes(b"404: Not Found")
    reason = r"\(14 bytes\): its first bytes are of none of JPEG, .*HEIF\. "
    expected = "Expected a complete"
    with pytest.raises(ValueError, match=rf"cannot decode .*bird\.jpg.*{reason}{expected}"):
        decode_image(tmp_path / "bird.jpg")
    with pytest.raises(FileNotFoundError, match=r"nobody\.jpg"):
        decode_image(tmp_path / "nobody.jpg")


def test_a_file_that_cannot_be_read_is_named():
    """A disk's error names none; Linux gives it for the memory at 0 of any process."""
    path = Path("/proc/self/mem")
    for read in (decode_image, partial(read_text, remedy="")):
        with pytest.raises(OSError, match=rf"Input/output error: '{path}'"):
            read(path)


@FEW
@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(1, 64))
def test_resizing_agrees_with_pil_within_one_grey_level(height, width, size):
    example = Example(noise(height, width, seed=height * width), 3, NO_BOX)
    oracle = Image.fromarray(example.image).resize((size, size), Image.Resampling.BILINEAR)
    resized = transforms.test_transform(example, image_size=size, resize_size=size)
    assert np.abs(resized.image - np.asarray(oracle, int)).max() <= 1
    assert resized.label == 3


BOXES = st.tuples(*[st.integers(0, 15)] * 2, *[st.integers(1, 16)] * 2).map(
    lambda box: (min(box[0], box[2] - 1), min(box[1], box[3] - 1), *box[2:])
)


def painted(side, box):
    """An image whose pixels say where they are, and whether they are inside the box."""
    image = np.stack([*np.mgrid[:side, :side], np.zeros((side, side))], axis=-1).astype(np.uint8)
    image[box[0] : box[2], box[1] : box[3], 2] = 255
    return Example(image, 0, np.array(box, np.float32))


@FEW
@given(box=BOXES, size=st.integers(4, 16), seed=st.integers(0, 10**6))
def test_the_box_stays_around_what_it_held(box, size, seed):
    transform = partial(transforms.train_transform, image_size=size, resize_size=16)
    example = painted(16, box)
    image, _, moved = cropped = transform(example, np.random.default_rng(seed))
    rows, cols = np.nonzero(image[..., 2])
    if rows.size:
        tight = [rows.min(), cols.min(), rows.max() + 1, cols.max() + 1]
        np.testing.assert_array_equal(moved, tight)
    else:  # cropped away: nothing is left of it
        assert (moved[2] - moved[0]) * (moved[3] - moved[1]) == 0
    assert (moved.dtype, image.flags.c_contiguous) == (np.float32, True)
    bare = transform(example._replace(box=NO_BOX), np.random.default_rng(seed))
    assert np.isnan(bare.box).all()
    again = transform(painted(16, box), np.random.default_rng(seed))
    for one, other in zip((*cropped, *example), (*again, *painted(16, box)), strict=True):
        np.testing.assert_array_equal(one, other)  # repeatable, and the input is left alone


def test_every_crop_and_both_flips_occur():
    transform = partial(transforms.train_transform, image_size=6, resize_size=8)
    rng, example = np.random.default_rng(0), painted(8, (0, 0, 8, 8))
    drawn = [transform(example, rng).image.astype(int) for _ in range(400)]
    for image in drawn:  # one window, right way up
        np.testing.assert_array_equal(np.diff(image[..., 0], axis=0), 1)
        assert len(np.unique(np.diff(image[..., 1], axis=1))) == 1
    corners = {(image[..., 0].min(), image[..., 1].min()) for image in drawn}
    assert corners == {(top, left) for top in range(3) for left in range(3)}
    assert 160 < sum(image[0, 0, 1] > image[0, -1, 1] for image in drawn) < 240  # 4 deviations


SIDE = 60


def cut(seed, monkeypatch):
    """Top, left, height and width of a random resized crop, before it is resized."""
    with monkeypatch.context() as patch:
        patch.setattr(transforms, "resize", lambda example, size: example)
        rng = np.random.default_rng(seed)
        image = transforms.random_resized_crop(painted(SIDE, (0, 0, SIDE, SIDE)), rng, 8).image
    return (*image[0, 0, :2].tolist(), *image.shape[:2])


def torchvision_s_boxes(rng, number):
    """`RandomResizedCrop.get_params` as torchvision documents it, for all draws at once."""
    left = number
    found = []
    while left:  # what does not fit is drawn again; ten times in a row does not occur here
        area = SIDE**2 * rng.uniform(0.08, 1.0, left)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), left))
        width = np.round(np.sqrt(area * aspect)).astype(int)
        height = np.round(np.sqrt(area / aspect)).astype(int)
        fits = (width <= SIDE) & (height <= SIDE)
        tops, lefts = (rng.integers(0, SIDE - x[fits] + 1) for x in (height, width))
        found.append(np.stack([tops, lefts, height[fits], width[fits]]))
        left -= int(fits.sum())
    return np.concatenate(found, axis=1)


def test_random_resized_crops_have_torchvision_s_distribution(monkeypatch):
    ours = np.array([cut(seed, monkeypatch) for seed in range(3000)]).T
    theirs = torchvision_s_boxes(np.random.default_rng(0), 30_000)
    features = {
        "area": lambda top, left, height, width: height * width,
        "aspect": lambda top, left, height, width: width / height,
        "top": lambda top, left, height, width: top / np.maximum(SIDE - height, 1),
        "left": lambda top, left, height, width: left / np.maximum(SIDE - width, 1),
        "bottom": lambda top, left, height, width: top + height,
        "right": lambda top, left, height, width: left + width,
    }
    for name, feature in features.items():
        assert ks_2samp(feature(*ours), feature(*theirs)).pvalue > 0.01, name
    top, left, height, width = ours
    assert (top + height).max() == (left + width).max() == SIDE
    assert min(top.min(), left.min()) == 0
    others = ks_2samp(features["area"](*ours), 0.9 * features["area"](*theirs))
    assert others.pvalue < 1e-6  # the test can tell


@FEW
@given(box=BOXES, seed=st.integers(0, 10**6))
def test_the_box_of_a_random_resized_crop_is_moved_and_scaled(box, seed):
    example = painted(SIDE, tuple(3 * x for x in box))
    resized = transforms.random_resized_crop(example, np.random.default_rng(seed), 24)
    with pytest.MonkeyPatch.context() as patch:
        top, left, height, width = cut(seed, patch)
    corners = example.box.reshape(2, 2) - (top, left)
    expected = np.clip(corners, 0, (height, width)) * 24 / np.array([height, width])
    assert resized.image.shape == (24, 24, 3)
    np.testing.assert_allclose(resized.box, expected.reshape(4), rtol=1e-5)
    pixels = example.image[top : top + height, left : left + width]
    oracle = Image.fromarray(pixels).resize((24, 24), Image.Resampling.BILINEAR)
    assert np.abs(resized.image - np.asarray(oracle, int)).max() <= 1
    bare = transforms.random_resized_crop(
        example._replace(box=NO_BOX), np.random.default_rng(seed), 24
    )
    assert np.isnan(bare.box).all()


@pytest.mark.parametrize("shape", [(2, 100), (1, 1)])
def test_where_no_crop_fits_it_is_the_whole_image(shape):
    """The least area is 4 x 4 px in the first, and less than half a pixel high in the second."""
    example = Example(noise(*shape), 0, NO_BOX)
    whole = transforms.resize(example, 8).image
    for seed in range(20):
        found = transforms.random_resized_crop(example, np.random.default_rng(seed), 8)
        np.testing.assert_array_equal(found.image, whole)


@pytest.mark.parametrize(
    ("shape", "sizes", "expected"),
    [
        ((400, 600), (224, 448), (133, 200)),  # the middle of 200 x 300 px is shrunk
        ((200, 300), (224, 448), (100, 150)),  # nothing is enlarged
        ((1, 2000), (224, 224), (1, 200)),
    ],
)
def test_the_seen_part_is_as_long_as_asked_and_no_longer(shape, sizes, expected):
    sizes = dict(zip(("image_size", "resize_size"), sizes, strict=True))
    assert transforms.seen_part(noise(*shape), sizes, 200).shape == (*expected, 3)


def test_golden_central_crop_and_box():
    # 10 x 20 becomes 40 x 40: rows grow 4 times, columns twice; 6 pixels go on every side.
    example = Example(noise(10, 20), 0, np.array([2, 5, 9, 20], np.float32))
    cropped = transforms.test_transform(example, image_size=28, resize_size=40)
    np.testing.assert_array_equal(cropped.box, [2, 4, 28, 28])
    resized = Image.fromarray(example.image).resize((40, 40), Image.Resampling.BILINEAR)
    assert np.abs(cropped.image - np.asarray(resized, int)[6:34, 6:34]).max() <= 1


@pytest.mark.parametrize("image_size", [9, 0])
def test_a_crop_that_does_not_fit_is_refused(image_size):
    example, sizes = painted(8, (0, 0, 8, 8)), {"image_size": image_size, "resize_size": 8}
    match = rf"image_size {image_size} .*resize_size 8.*Raise data\.resize_ratio"
    with pytest.raises(ValueError, match=match):
        transforms.test_transform(example, **sizes)
    with pytest.raises(ValueError, match=match):
        transforms.train_transform(example, np.random.default_rng(0), **sizes)
