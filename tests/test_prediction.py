"""Pictures are brought to MNIST's form, and what is said of them."""

import io
import os

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from mnist import picture_files, synthetic
from prediction import answers, form, pieces, preparation, reading, sources
from prediction.preparation import NONE, ONE, SEVERAL

DIGITS = synthetic.draw_digits(20, seed=5)[0]
# The strokes of a 4, in shares of a picture's side.
FOUR = [[(0.55, 0.2), (0.3, 0.6), (0.75, 0.6)], [(0.6, 0.4), (0.6, 0.8)]]


def drawn(size=160, pen=10, ink="black", paper="white", mode="RGB", strokes=FOUR, at=(0, 0)):
    """Draws strokes with a round pen."""
    picture = Image.new(mode, (size, size), paper)
    draw = ImageDraw.Draw(picture)
    for stroke in strokes:
        points = [(x * size + at[0], y * size + at[1]) for x, y in stroke]
        draw.line(points, ink, pen, joint="curve")
        for x, y in points:
            draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), ink)
    return picture


def the_digit(picture):
    prepared = preparation.to_mnist(picture)
    assert prepared.found == ONE, prepared.why
    (image,) = prepared.images
    return image.astype(float)


def likeness(one, other):
    """The ink that two images share, of all that they have: 1 if they are the same.

    They may be shifted by a pixel, to which a centre of mass is rounded.
    """
    shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    several = [np.roll(one, shift, (0, 1)) for shift in shifts]
    return max(np.minimum(one, other).sum() / np.maximum(one, other).sum() for one in several)


EXPECTED = the_digit(drawn())


@pytest.mark.parametrize(
    "changed",
    [
        lambda picture: picture,
        ImageOps.invert,
        lambda picture: picture.convert("RGB"),
        lambda picture: picture.resize((280, 280), Image.Resampling.NEAREST),
        lambda picture: ImageOps.invert(picture.resize((56, 56), Image.Resampling.NEAREST)),
    ],
    ids=["as it is", "inverted", "in colour", "enlarged", "enlarged and inverted"],
)
def test_what_has_mnists_form_stays_as_it_is(changed):
    for digit in DIGITS:
        np.testing.assert_array_equal(the_digit(changed(Image.fromarray(digit))), digit)


def test_shifted_digits_are_shifted_back():
    with_room = [digit for digit in DIGITS if not (digit[-2:].any() or digit[:, :2].any())]
    assert len(with_room) > 5
    for digit in with_room:
        shifted = np.roll(digit, (2, -2), (0, 1))
        assert likeness(the_digit(Image.fromarray(shifted)), digit) == 1


def test_a_drawing_gets_mnists_form():
    rows, columns = (np.flatnonzero(EXPECTED.any(axis=axis)) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == form.BOX
    for axis in (0, 1):
        centre = EXPECTED.sum(axis=1 - axis) @ np.arange(28) / EXPECTED.sum()
        assert abs(centre - 14) <= 0.51
    assert EXPECTED.max() == 255 and EXPECTED[0].max() == EXPECTED[:, -1].max() == 0


@pytest.mark.parametrize("size", [28, 64, 200, 900])
@pytest.mark.parametrize("pen", [0.03, 0.06, 0.12])
def test_strokes_get_the_width_of_mnists(size, pen):
    image = the_digit(drawn(size, max(1, round(pen * size))))
    enlarged = Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC)
    width = form.stroke_width(np.asarray(enlarged) > 127) / 8
    assert form.THINNEST - 0.7 < width < form.WIDEST + 0.7
    assert likeness(image, EXPECTED) > 0.4


def in_light(picture, noise=0.02, shadow=0.5):
    """A photo of a drawing: light from one side, the edge of a shadow across the digit, noise."""
    pixels = np.asarray(picture, float) / 255
    rows, columns = np.mgrid[: picture.height, : picture.width]
    light = 0.95 - 0.4 * rows / picture.height
    light = light * np.where(columns + 0.3 * rows > 0.62 * picture.width, 1 - shadow, 1)
    pixels = pixels * light[..., None] + np.random.default_rng(0).normal(0, noise, pixels.shape)
    return Image.fromarray((255 * pixels.clip(0, 1)).round().astype(np.uint8))


def on_checkerboard(picture):
    rows, columns = np.mgrid[: picture.height, : picture.width]
    board = np.where((rows // 8 + columns // 8) % 2, 255, 204).astype(np.uint8)
    return Image.composite(Image.fromarray(board), picture.convert("L"), picture.convert("L"))


def ruled(picture):
    ruled = in_light(picture, shadow=0)
    draw = ImageDraw.Draw(ruled)
    for y in range(10, picture.height, 25):
        draw.line((0, y, picture.width, y), (150, 160, 190), 1)
    return ruled


def transparent(ink):
    mask = ImageOps.invert(drawn().convert("L"))
    picture = Image.new("RGBA", mask.size, ink)
    picture.putalpha(mask)
    return picture


def framed(picture):
    return ImageOps.expand(ImageOps.expand(picture, 3, "black"), 10, "white")


def sixteen_bits(picture):
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


PICTURES = {
    "white on black": drawn(ink="white", paper="black"),
    "yellow on blue": drawn(ink="yellow", paper=(0, 60, 200)),
    "pale grey": drawn(ink=(215, 215, 215)),
    "black and white": drawn(mode="L").convert("1"),
    "palette": drawn(ink="red").convert("P"),
    "16 bits": sixteen_bits(drawn()),
    "black on nothing": transparent("black"),
    "white on nothing": transparent("white"),
    "on a checkerboard": on_checkerboard(drawn()),
    "in the light": in_light(drawn(), shadow=0),
    "blue pen in a shadow": in_light(drawn(ink=(20, 30, 120))),
    "chalk": in_light(drawn(ink=(220, 220, 210), paper=(40, 70, 55)), shadow=0),
    "noisy": in_light(drawn(), noise=0.1, shadow=0),
    "on ruled paper": ruled(drawn()),
    "in a frame": framed(drawn()),
    "on a plate": ImageOps.expand(drawn(ink="white", paper="black"), 40, "white"),
    "small on a page": ImageOps.expand(drawn(60, 4), (200, 100, 300, 400), "white"),
    "up to its edges": drawn().crop((43, 27, 125, 133)),
}


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_ink_is_found_on_any_paper(picture):
    assert likeness(the_digit(picture), EXPECTED) > 0.55


def test_a_jpeg_is_turned_upright():
    turned, file = drawn().transpose(Image.Transpose.ROTATE_90), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(file, "JPEG", exif=exif)
    with picture_files.opened(file) as picture:
        assert likeness(the_digit(picture), EXPECTED) > 0.8


def test_broken_strokes_are_one_digit():
    picture = drawn()
    ImageDraw.Draw(picture).rectangle((0, 88, 88, 93), "white")
    assert likeness(the_digit(picture), EXPECTED) > 0.55


def test_several_digits_are_found_from_left_to_right():
    one = [[(0.5, 0.2), (0.5, 0.8)]]
    picture = Image.new("RGB", (420, 160), "white")
    for left, strokes in ((220, FOUR), (0, one), (110, FOUR)):
        picture.paste(ImageOps.invert(ImageOps.invert(drawn(strokes=strokes))), (left, 0))
    prepared = preparation.to_mnist(picture)
    assert prepared.found == SEVERAL and len(prepared.images) == 3
    widths = [np.flatnonzero(image.any(axis=0)).size for image in prepared.images]
    assert widths[0] < widths[1] and widths[0] < widths[2]


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (Image.new("L", (100, 80), 255), "no ink"),
        (Image.new("RGBA", (100, 80)), "no ink"),
        (Image.new("1", (1, 1)), "no ink"),
        (drawn(pen=6, strokes=[[(0.1, 0.5), (0.9, 0.5)]]), "a line across"),
        (drawn(pen=100, strokes=[[(0.4, 0.5), (0.6, 0.5)]]), "a patch"),
        (
            drawn(
                pen=3,
                strokes=[
                    [(0.3, 0.1), (0.3, 0.9)],
                    *[[(0.3, y / 10), (0.7, y / 10)] for y in range(1, 10)],
                    [(0.7, 0.1), (0.7, 0.9)],
                ],
            ),
            "holes",
        ),
    ],
    ids=["blank", "nothing", "one pixel", "line", "patch", "ladder"],
)
def test_no_digit_is_an_answer(picture, why):
    prepared = preparation.to_mnist(picture)
    assert prepared.found == NONE and why in prepared.why and len(prepared.images) == 0


def test_pieces_are_those_of_a_search_pixel_by_pixel():
    random = np.random.default_rng(0)
    for share in (0.1, 0.4, 0.6):
        mask = random.random((15, 21)) < share
        labels, found = pieces.label(mask)
        assert np.array_equal(labels > 0, mask)
        assert sorted(piece.number for piece in found) == list(range(1, len(found) + 1))
        for piece in found:
            # From one pixel, all that touch.
            reached = np.zeros_like(mask)
            reached[tuple(np.argwhere(labels == piece.number)[0])] = True
            for _ in range(mask.size):
                wider = (
                    np.asarray(
                        Image.fromarray(reached).convert("L").filter(ImageFilter.MaxFilter(3))
                    )
                    > 0
                )
                if np.array_equal(wider & mask, reached):
                    break
                reached = wider & mask
            rows, columns = np.nonzero(reached)
            assert np.array_equal(reached, labels == piece.number)
            assert piece[1:] == (
                reached.sum(),
                rows.min(),
                rows.max() + 1,
                columns.min(),
                columns.max() + 1,
            )


# --- What is read, and what is said ---


def always(digit, probability=0.97):
    """Stands in for a network, whose digits this is not about."""

    def classify(images):
        rest = (1 - probability) / 9
        return np.where(np.arange(10) == digit, probability, rest) * np.ones((len(images), 1))

    return lambda: classify


def said_of(paths, many=False, **options):
    found = sources.sources_of([str(path) for path in paths])
    read = list(reading.read_all(found, always(4, **options), min_probability=0.5))
    lines = [answers.line(answer, many) if answer else one.problem for one, answer in read]
    return lines, [answer for _, answer in read if answer]


@pytest.mark.parametrize(
    "name",
    [
        "four.png",
        "four.jpg",
        "four.bmp",
        "four.gif",
        "four.tif",
        "four.webp",
        "four.ppm",
        "named wrongly.txt",
    ],
)
def test_a_picture_is_read_whatever_its_format(tmp_path, name):
    path = tmp_path / name
    drawn().save(path, None if path.suffix != ".txt" else "PNG")
    (line,), _ = said_of([path])
    assert line == f"{path}: 4 (0.9700), then 9 (0.0033)"


def test_a_folder_is_read_in_order_with_those_below(tmp_path):
    for name in ("b.png", "a.png", "below/c.jpg", ".hidden.png", ".git/d.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        drawn().save(path)
    (tmp_path / "notes.txt").write_text("no picture")
    lines, _ = said_of([tmp_path])
    assert [line.split(":")[0] for line in lines] == [
        str(tmp_path / name) for name in ("a.png", "b.png", "below/c.jpg")
    ]


def test_what_can_not_be_read_is_named_and_the_rest_goes_on(tmp_path):
    drawn().save(tmp_path / "sound.png")
    (tmp_path / "none.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes((tmp_path / "sound.png").read_bytes()[:200])
    Image.new("1", (5000, 5000)).save(tmp_path / "bomb.png")
    Image.fromarray(np.zeros((40, 40), np.float32)).save(tmp_path / "float.tif")
    (tmp_path / "nothing").mkdir()
    os.mkfifo(tmp_path / "endless.png")
    names = [
        "none.png",
        "empty.png",
        "cut.png",
        "bomb.png",
        "float.tif",
        "nothing",
        "endless.png",
        "missing.png",
        "sound.png",
    ]
    lines, (answer,) = said_of([tmp_path / name for name in names])
    problems = dict(zip(names, lines, strict=True))
    assert answer.file == str(tmp_path / "sound.png")
    for name, fragment in {
        "none.png": "no picture",
        "empty.png": "empty",
        "cut.png": "",
        "bomb.png": "5000x5000 pixels, more than 16777216",
        "float.tif": "32 bits",
        "nothing": "without pictures",
        "endless.png": "neither a file nor a folder",
        "missing.png": "No such file",
    }.items():
        assert fragment in problems[name] and "\n" not in problems[name]


def test_idx_files_have_many_pictures(tmp_path):
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(
        bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28]) + DIGITS[:2].tobytes()
    )
    lines, _ = said_of([path])
    assert [line.split(":")[0] for line in lines] == [f"{path}[0]", f"{path}[1]"]
    path.write_bytes(path.read_bytes()[:-1])
    (line,), _ = said_of([path])
    assert "expected 1568 bytes" in line
    path.write_bytes(bytes([0, 0, 8, 3, *[255] * 12]))
    (line,), _ = said_of([path])
    assert "more than 1024 MiB" in line
    path.write_bytes(bytes([0, 0, 8, 3]))
    (line,), _ = said_of([path])
    assert "ends within the header" in line


def test_less_than_the_least_probability_is_unsure(tmp_path):
    drawn().save(tmp_path / "four.png")
    (line,), (answer,) = said_of([tmp_path / "four.png"], probability=0.4)
    assert line.endswith(": unsure: 4 (0.4000), then 9 (0.0667)")
    assert answers.facts(answer)["found"] == answers.UNSURE


def test_several_are_refused_or_read(tmp_path):
    picture = Image.new("RGB", (300, 200), "white")
    for left in (0, 130):
        picture.paste(drawn(), (left, 0))
    picture.save(tmp_path / "44.png")
    Image.new("L", (30, 30)).save(tmp_path / "blank.png")
    paths = [tmp_path / "44.png", tmp_path / "blank.png"]
    lines, said = said_of(paths)
    assert [line.split(": ", 1)[1] for line in lines] == [
        "several digits: 2 side by side",
        "no digit: no ink",
    ]
    lines, _ = said_of(paths, many=True)
    assert lines[0].endswith("44.png: 44 (0.9700, 0.9700)")
    assert answers.as_csv(said).splitlines() == [
        "file,found,digit,probability,runner_up,runner_up_probability,why",
        *[f"{tmp_path}/44.png,several digits,4,0.97,9,0.0033,2 side by side"] * 2,
        f"{tmp_path}/blank.png,no digit,,,,,no ink",
    ]
