"""Folders of pictures: what is read from them, what is reported, and what is refused."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from console.errors import InputError
from mnist import datasets, folders

RANDOM = np.random.default_rng(0)


def save(path, pixels=None, **options):
    """Saves a picture: uint8 [height, width] or an image; by default noise that is mostly dark."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = RANDOM.integers(0, 100, [8, 6], np.uint8)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)


def write(folder, *classes, count=12):
    for name in classes:
        for index in range(count):
            save(folder / name / f"{index}.png")
    return folder


def complete(folder):
    write(folder / "train", "0", "1")
    write(folder / "test", "0", "1", count=2)
    return folder


def load(folder):
    return datasets.load("auto", str(folder), is_named=True)


def images_of(part):
    """The images of a split as a set, to compare without their order."""
    return {(image.tobytes(), label) for image, label in zip(*part, strict=True)}


def halves(dataset):
    """The images to train on, validation among them, and those for test."""
    together = datasets.Split(
        np.concatenate([dataset.train.images, dataset.validation.images]),
        np.concatenate([dataset.train.labels, dataset.validation.labels]),
    )
    return images_of(together), images_of(dataset.test)


def images_in(folder):
    """The same of the files in a folder of classes."""
    return {
        (np.asarray(Image.open(path)).tobytes(), int(path.parent.name))
        for path in folder.glob("*/*.png")
    }


@pytest.mark.parametrize("names", [("train", "test"), ("training", "testing")])
def test_train_and_test_are_read_as_they_are(tmp_path, capsys, names):
    train, test = (tmp_path / "mine" / name for name in names)
    write(train, "0", "1", "3", count=20)
    write(test, "0", "3", count=5)
    dataset = load(tmp_path / "mine")
    assert dataset.name == "mine"
    assert dataset.form() == {"image_size": [8, 6], "classes": 4}
    assert halves(dataset) == (images_in(train), images_in(test))
    told = capsys.readouterr().err
    assert (
        "60 pictures to train on, 10 for test, 4 classes of 8x6 pixels, with no training image"
        in told
    )
    assert "of 2; it is called 'mine'" in told
    assert "reading" in told and "picture 70/70" in told


def test_validation_images_are_of_all_classes(tmp_path):
    write(tmp_path / "mine", *"0123456789", count=30)
    dataset = load(tmp_path / "mine")
    counts = np.bincount(dataset.validation.labels, minlength=10)
    assert counts.sum() == 20 and counts.min() >= 1 and counts.max() <= 3


def test_without_train_and_test_a_sixth_of_each_class_is_for_test(tmp_path, capsys):
    write(tmp_path / "mine", "0", "1")
    write(tmp_path / "mine", "2", count=31)
    dataset = load(tmp_path / "mine")
    assert np.bincount(dataset.test.labels).tolist() == [2, 2, 5]
    train, test = halves(dataset)
    assert not train & test and train | test == images_in(tmp_path / "mine")
    assert "of each class one picture in 6" in capsys.readouterr().err


def test_the_order_on_the_disk_does_not_matter(tmp_path, monkeypatch):
    load(write(tmp_path / "mine", "0", "1"))
    one = load(tmp_path / "mine").description()
    (tmp_path / "mine" / folders.CACHE).unlink()
    forwards = folders._entries
    monkeypatch.setattr(folders, "_entries", lambda folder: forwards(folder)[::-1])
    assert load(tmp_path / "mine").description() == one


def test_classes_with_names_are_numbered_in_their_order_which_is_told(tmp_path, capsys):
    dataset = load(write(tmp_path / "pets", "dog", "cat", "7"))
    assert dataset.form()["classes"] == 3
    assert "numbered: 0 is 7, 1 is cat, 2 is dog\n" in capsys.readouterr().err
    cats = {image for image, label in set.union(*halves(dataset)) if label == 1}
    paths = (tmp_path / "pets/cat").iterdir()
    assert cats == {np.asarray(Image.open(path)).tobytes() for path in paths}


@pytest.mark.parametrize(
    ("name", "picture", "shade"),
    [
        ("grey.png", Image.new("L", (6, 8), 77), 77),
        ("grey.jpg", Image.new("L", (6, 8), 128), 128),
        ("grey.JPEG", Image.new("RGB", (6, 8), (128, 128, 128)), 128),
        ("black_or_white.png", Image.new("1", (6, 8), 1), 255),
        # Red is 0.299 of the brightness.
        ("colour.bmp", Image.new("RGB", (6, 8), (255, 0, 0)), 76),
        ("palette.gif", Image.new("RGB", (6, 8), (255, 0, 0)).convert("P"), 76),
        ("palette.png", Image.new("RGB", (6, 8), (255, 0, 0)).convert("P"), 76),
        ("transparent.png", Image.new("RGBA", (6, 8), (0, 0, 0, 0)), 255),
        ("half.png", Image.new("RGBA", (6, 8), (0, 0, 0, 128)), 127),
        ("grey_and_alpha.webp", Image.new("RGBA", (6, 8), (0, 0, 0, 0)), 255),
        ("16 bits.png", Image.fromarray(np.full([8, 6], 257 * 77, np.uint16)), 77),
        ("16 bits.tif", Image.fromarray(np.full([8, 6], 257 * 77, np.uint16)), 77),
        ("16 bits.pgm", Image.fromarray(np.full([8, 6], 257 * 77, np.uint16)), 77),
        ("full.png", Image.fromarray(np.full([8, 6], 65535, np.uint16)), 255),
    ],
)
def test_every_kind_of_picture_becomes_grey(tmp_path, name, picture, shade):
    write(tmp_path / "mine/train", "0", "1")
    write(tmp_path / "mine/test", "1", count=1)
    options = {"lossless": True} if name.endswith("webp") else {}
    save(tmp_path / "mine/test/0" / name, picture, **options)
    test = load(tmp_path / "mine").test
    (image,) = test.images[test.labels == 0]
    assert np.unique(image).tolist() == [shade]


def test_a_transparent_shade_of_16_bits_is_paper(tmp_path):
    write(tmp_path / "mine/train", "0", "1")
    shades = np.full([8, 6], 257, np.uint16)
    shades[2:5, 3] = 2 * 257
    save(tmp_path / "mine/test/0/a.png", shades, transparency=257)
    (image,) = load(tmp_path / "mine").test.images
    np.testing.assert_array_equal(image, np.where(shades == 257, 255, 2))


def test_a_transparent_background_of_a_palette_is_paper(tmp_path):
    ink = np.zeros([8, 6], np.uint8)
    ink[2:5, 3] = 1
    picture = Image.new("P", (6, 8))
    picture.putdata(ink.ravel().tolist())
    picture.putpalette([0, 0, 0, 10, 10, 10])
    write(tmp_path / "mine/train", "0", "1")
    save(tmp_path / "mine/test/0/a.png", picture, transparency=0)
    (image,) = load(tmp_path / "mine").test.images
    np.testing.assert_array_equal(image, np.where(ink, 10, 255))


def test_a_photograph_is_turned_upright(tmp_path):
    write(tmp_path / "mine/train", "0", "1")
    shades = np.repeat(np.linspace(0, 255, 8).astype(np.uint8)[None], 6, axis=0)  # 6x8
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    save(tmp_path / "mine/test/0/a.jpg", shades, exif=exif, quality=100)
    (image,) = load(tmp_path / "mine").test.images
    assert np.all(np.diff(image[:, 0].astype(int)) > 0)


def test_what_may_be_a_mistake_is_told(tmp_path, capsys):
    folder = tmp_path / "mine"
    for name in "01":
        for index in range(12):
            save(
                folder / "train" / name / f"{index}.png",
                RANDOM.integers(200, 256, [8, 6], np.uint8),
            )
    save(folder / "test/0/blank.png", np.zeros([8, 6], np.uint8))
    for name in ("train/0/Thumbs.db", "train/0/.DS_Store", "train/.DS_Store", ".x.png"):
        (folder / name).write_bytes(b"x")
    load(folder)
    told = capsys.readouterr().err
    assert "most pictures have a bright border" in told
    assert "of one shade all over, 1 in all: test/0/blank.png\n" in told
    assert "passed over" not in told
    (folder / "val/0").mkdir(parents=True)
    for name in ("train/0/a.heic", "train/0/b.heic", "labels.csv"):
        (folder / name).write_bytes(b"x")
    load(folder)
    others = "labels.csv, train/0/a.heic, train/0/b.heic and 1 more\n"
    assert f"passed over, 4 in all: {others}" in capsys.readouterr().err


def test_dark_pictures_with_ink_are_nothing_to_tell(tmp_path, capsys):
    load(complete(tmp_path / "mine"))
    told = capsys.readouterr().err
    assert not any(word in told for word in ("bright", "shade", "passed", "numbered", "no train"))


def test_pictures_of_several_sizes_are_refused(tmp_path):
    folder = complete(tmp_path / "mine")
    save(folder / "train/1/odd.png", np.zeros([9, 6], np.uint8))
    message = r"one size, found 28 of 8x6 \(test/0/0.png\), 1 of 9x6 \(train/1/odd.png\)$"
    with pytest.raises(InputError, match=message):
        load(folder)


def bomb():
    """A PNG of few bytes that claims 50,000 x 50,000 pixels."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">2I5B", 50_000, 50_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0" * 99))


def test_all_that_cannot_be_read_is_counted_and_the_first_named(tmp_path):
    folder = complete(tmp_path / "mine")
    (folder / "test/0/bomb.png").write_bytes(bomb())
    (folder / "test/0/text.png").write_text("no picture at all")
    whole = (folder / "train/0/3.png").read_bytes()
    (folder / "train/0/3.png").write_bytes(whole[: len(whole) // 2])
    (folder / "train/0/4.png").write_bytes(b"")
    # Pillow would start another program for it.
    (folder / "train/0/5.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 8\n")
    save(folder / "train/0/large.png", np.zeros([5000, 5000], np.uint8))
    with pytest.raises(InputError) as refused:
        load(folder)
    (line,) = str(refused.value).splitlines()
    assert "found 6 of 31 that can't: test/0/bomb.png (" in line and "bomb DOS" in line
    assert "test/0/text.png (no picture), train/0/3.png (" in line and line.endswith("and 3 more")


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("test", r"expected pictures in test/CLASS too, found them in train/CLASS only"),
        ("train", r"expected pictures in train/CLASS too, found them in test/CLASS only"),
        ("train/0", r"training pictures of each class in test, found none of 0"),
    ],
)
def test_what_is_missing_is_named(tmp_path, remove, message):
    folder = complete(tmp_path / "mine")
    for path in sorted((folder / remove).rglob("*.png")):
        path.unlink()
    with pytest.raises(InputError, match=message):
        load(folder)


def test_folders_that_cannot_be_split_or_have_one_class_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least 6 pictures of a class, found at most 5"):
        load(write(tmp_path / "few", "0", "1", count=5))
    with pytest.raises(InputError, match="--data_dir: .* a folder of pictures for each class, in"):
        load(write(tmp_path / "one", "0"))
    write(tmp_path / "half/train", "0")
    write(tmp_path / "half/test", "0")
    with pytest.raises(InputError, match="expected 2 to 256 classes, found 1$"):
        load(tmp_path / "half")
    with pytest.raises(InputError, match="expected 2 to 256 classes, found 257"):
        load(write(tmp_path / "many", *map(str, range(257)), count=1))


def test_idx_files_come_before_pictures(tmp_path):
    folder = complete(tmp_path / "mine")
    (folder / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(InputError, match="found no train-labels-idx1-ubyte"):
        load(folder)


def test_pictures_are_read_once(tmp_path, capsys):
    folder = complete(tmp_path / "mine")
    first = load(folder).description()
    capsys.readouterr()
    assert load(folder).description() == first
    assert "reading" not in capsys.readouterr().err


@pytest.mark.parametrize("change", ["other pixels", "rename", "add", "remove"])
def test_a_change_of_the_pictures_is_noticed(tmp_path, change):
    folder = complete(tmp_path / "mine")
    before = load(folder).description()["fingerprint"]
    path = folder / "train/0/3.png"
    if change == "other pixels":
        changed = path.stat().st_mtime_ns + 1
        save(path)
        os.utime(path, ns=(changed, changed))
    elif change == "rename":
        path.rename(folder / "train/1/moved.png")
    elif change == "add":
        save(folder / "train/0/more.png")
    else:
        path.unlink()
    after = load(folder).description()["fingerprint"]
    assert after != before
    (folder / folders.CACHE).unlink()
    assert load(folder).description()["fingerprint"] == after


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty", "other arrays"])
def test_a_damaged_cache_is_replaced(tmp_path, damage, capsys):
    folder = complete(tmp_path / "mine")
    expected = load(folder).description()
    path = folder / folders.CACHE
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    damaged = {"cut": content[:500], "flip": content, "text": b"text", "empty": b""}
    if damage == "other arrays":
        with np.load(path) as stored:
            np.savez(path, key=stored["key"], images=np.zeros([1, 1]))
    else:
        path.write_bytes(damaged[damage])
    assert load(folder).description() == expected
    capsys.readouterr()
    assert load(folder).description() == expected
    assert "reading" not in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_read_each_time(tmp_path, capsys):
    folder = complete(tmp_path / "mine")
    (folder / folders.CACHE).mkdir()  # even root can't write there
    for _ in range(2):
        assert len(load(folder).test.labels) == 4
        told = capsys.readouterr().err
        assert "so every command reads all pictures: Is a directory\n" in told
        assert "reading" in told
    assert [path.name for path in folder.glob(".*")] == [folders.CACHE]
