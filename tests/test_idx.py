"""IDX files: any fault in one is reported in one line, and never yields partial data."""

import gzip
import os
import stat
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.errors import InputError
from mnist import idx

COUNT = 3
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)
LABELS = np.array([7, 0, 9], np.uint8)
IMAGES_FILE = struct.pack(">4I", 0x803, COUNT, 28, 28) + PIXELS.tobytes()
LABELS_FILE = struct.pack(">2I", 0x801, COUNT) + LABELS.tobytes()


@pytest.fixture
def write(tmp_path):
    """Return a function that writes bytes to a file and returns its path."""

    def write(content, name="data"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def error_of(read, *paths):
    """Return the message of the InputError that reading raises: one line that names the file."""
    with pytest.raises(InputError) as caught:
        read(*paths)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(tuple(f"{path}: expected " for path in paths))
    assert "found" in message
    return message


class TestGoodFiles:
    """Valid files are read, however they are compressed and named."""

    @pytest.mark.parametrize("name", ["data", "data.gz"])
    @pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
    def test_content_decides_about_gzip_and_not_the_name(self, write, pack, name):
        np.testing.assert_array_equal(idx.read_images(write(pack(IMAGES_FILE), name)), PIXELS)
        np.testing.assert_array_equal(idx.read_labels(write(pack(LABELS_FILE), name)), LABELS)

    def test_pair(self, write):
        images, labels = idx.read_pair(write(IMAGES_FILE, "images"), write(LABELS_FILE, "labels"))
        np.testing.assert_array_equal(images, PIXELS)
        np.testing.assert_array_equal(labels, LABELS)

    def test_arrays_are_uint8_contiguous_and_read_only(self, write):
        images, labels = idx.read_pair(write(IMAGES_FILE, "images"), write(LABELS_FILE, "labels"))
        for array in (images, labels):
            assert array.dtype == np.uint8
            assert array.flags.c_contiguous
            assert not array.flags.writeable

    def test_images_may_have_any_size_and_labels_any_value(self, write):
        images = struct.pack(">4I", 0x803, 2, 32, 20) + bytes(2 * 32 * 20)
        labels = struct.pack(">2I", 0x801, 2) + bytes([0, 255])
        assert idx.read_images(write(images)).shape == (2, 32, 20)
        assert idx.read_labels(write(labels)).tolist() == [0, 255]

    def test_path_may_be_a_string(self, write):
        assert len(idx.read_labels(str(write(LABELS_FILE)))) == COUNT

    def test_gzip_in_several_members_is_one_file(self, write):
        content = gzip.compress(IMAGES_FILE[:100]) + gzip.compress(IMAGES_FILE[100:])
        np.testing.assert_array_equal(idx.read_images(write(content)), PIXELS)

    def test_zero_padding_after_gzip_is_allowed(self, write):
        np.testing.assert_array_equal(
            idx.read_labels(write(gzip.compress(LABELS_FILE) + bytes(512))), LABELS
        )


class TestWrongContent:
    """A file that is complete, but not the one wanted."""

    def test_labels_where_images_are_expected(self, write):
        message = error_of(idx.read_images, write(LABELS_FILE))
        assert "file of images (magic number 0x00000803)" in message
        assert "found 0x00000801: a file of labels; are the two files swapped?" in message

    def test_images_where_labels_are_expected(self, write):
        message = error_of(idx.read_labels, write(gzip.compress(IMAGES_FILE)))
        assert "found 0x00000803: a file of images; are the two files swapped?" in message

    def test_swapped_pair(self, write):
        images, labels = write(IMAGES_FILE, "images"), write(LABELS_FILE, "labels")
        assert "swapped" in error_of(idx.read_pair, labels, images)

    def test_wrong_magic_number(self, write):
        message = error_of(idx.read_images, write(b"<!DOCTYPE html><html></html>"))
        assert "found 0x3c21444f: not an IDX file of MNIST" in message

    @pytest.mark.parametrize(
        ("magic", "found"),
        [
            (0x00000D04, "IDX values of type float32 and rank 4"),
            (0x00000C03, "IDX values of type int32 and rank 3"),
            (0x03080000, "a little-endian header, where IDX files are big-endian"),
        ],
    )
    def test_another_type_is_named(self, write, magic, found):
        content = struct.pack(">4I", magic, 3, 28, 28)
        assert f": {found}" in error_of(idx.read_images, write(content))

    def test_images_without_pixels(self, write):
        content = struct.pack(">4I", 0x803, 1, 0, 28)
        assert "images with pixels, found 0x28" in error_of(idx.read_images, write(content))

    @pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
    def test_no_items(self, write, pack):
        images = write(pack(struct.pack(">4I", 0x803, 0, 28, 28)), "images")
        labels = write(pack(struct.pack(">2I", 0x801, 0)), "labels")
        assert "at least one of its images, found a count of 0" in error_of(idx.read_images, images)
        assert "at least one of its labels, found a count of 0" in error_of(idx.read_labels, labels)

    def test_fewer_labels_than_images(self, write):
        images = write(IMAGES_FILE, "images")
        labels = write(struct.pack(">2I", 0x801, 2) + bytes(2), "labels")
        message = error_of(idx.read_pair, images, labels)
        assert f"expected 3 labels, one for each image in {images}, found 2" in message


class TestDamagedFiles:
    """A file that has changed since it was written."""

    @pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
    @pytest.mark.parametrize("read", [idx.read_images, idx.read_labels])
    def test_empty(self, write, read, pack):
        message = error_of(read, write(pack(b"")))
        assert "an IDX header, found the end of the file after 0 bytes" in message

    @pytest.mark.parametrize("length", range(1, 16))
    def test_header_cut_off(self, write, length):
        message = error_of(idx.read_images, write(IMAGES_FILE[:length]))
        assert f"an IDX header, found the end of the file after {length} bytes" in message

    @pytest.mark.parametrize("length", [16, 17, len(IMAGES_FILE) - 1])
    @pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
    def test_pixels_cut_off(self, write, pack, length):
        message = error_of(idx.read_images, write(pack(IMAGES_FILE[:length])))
        assert f"expected {COUNT * 28 * 28} bytes after the header" in message
        assert f"announces {COUNT} images, found only {length - 16}" in message

    @pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
    def test_bytes_after_the_data(self, write, pack):
        message = error_of(idx.read_labels, write(pack(LABELS_FILE + b"\0")))
        assert "expected 3 bytes after the header, which announces 3 labels, found more" in message

    def test_gzip_cut_off_anywhere(self, write):
        packed = gzip.compress(LABELS_FILE)
        for length in range(2, len(packed)):
            message = error_of(idx.read_labels, write(packed[:length]))
            assert "expected a complete gzip file, found that it is cut off" in message

    @pytest.mark.parametrize("garbage", [b"!", b"garbage after the end"])
    def test_bytes_after_the_gzip_data(self, write, garbage):
        message = error_of(idx.read_labels, write(gzip.compress(LABELS_FILE) + garbage))
        assert "an intact gzip file and nothing after it, found damage" in message

    @pytest.mark.parametrize("position", [-8, -4, 3, 11], ids=["crc", "size", "flags", "body"])
    def test_gzip_damaged(self, write, position):
        packed = bytearray(gzip.compress(IMAGES_FILE))
        packed[position] ^= 0xFF
        assert "gzip file" in error_of(idx.read_images, write(packed))

    def test_checksum_is_checked(self, write):
        packed = bytearray(gzip.compress(IMAGES_FILE))
        packed[-8] ^= 1
        assert "found damage: CRC check failed" in error_of(idx.read_images, write(packed))


class TestLyingHeader:
    """Sizes that a header merely claims cost no memory."""

    def peak_while_failing(self, path):
        """Return the peak of allocated bytes, numpy's included, while a file is refused."""
        tracemalloc.start()
        try:
            message = error_of(idx.read_images, path)
            return tracemalloc.get_traced_memory()[1], message
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
    def test_claims_more_than_there_is(self, write, pack):
        content = struct.pack(">4I", 0x803, 2**32 - 1, 28, 28) + bytes(1000)
        peak, message = self.peak_while_failing(write(pack(content)))
        assert f"announces {2**32 - 1} images, found only 1000" in message
        assert peak < 4 * idx.CHUNK_BYTES

    def test_gzip_bomb_is_not_unpacked_beyond_what_it_claims(self, write):
        bomb = gzip.compress(struct.pack(">4I", 0x803, 1, 28, 28) + bytes(50_000_000), 1)
        peak, message = self.peak_while_failing(write(bomb))
        assert (
            "expected 784 bytes after the header, which announces 1 images, found more" in message
        )
        assert peak < 4 * idx.CHUNK_BYTES


class TestUnreadableFiles:
    """Paths that cannot be read as a file at all."""

    def test_missing(self, tmp_path):
        message = error_of(idx.read_images, tmp_path / "none.gz")
        assert "expected a readable file, found: No such file or directory" in message

    def test_directory(self, tmp_path):
        assert "expected a file, found a directory" in error_of(idx.read_labels, tmp_path)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_named_pipe_is_refused_and_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        message = error_of(idx.read_images, tmp_path / "pipe")
        assert "expected a file, found a device or a pipe" in message

    @pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may read all files")
    def test_no_permission(self, write):
        path = write(IMAGES_FILE)
        path.chmod(stat.S_IWUSR)
        message = error_of(idx.read_images, path)
        assert "expected a readable file, found: Permission denied" in message


def read_or_refuse(read, path):
    """Return what a file holds, or None if it is properly refused."""
    try:
        return read(path)
    except InputError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
        return None


HEADERS = st.builds(
    lambda *words: struct.pack(">4I", *words),
    st.sampled_from([0x801, 0x803]),
    st.integers(0, 3),
    st.sampled_from([27, 28]),
    st.sampled_from([27, 28]),
)
ANY_CONTENT = st.binary(max_size=64) | st.builds(
    lambda header, cut, body: header[:cut] + body,
    HEADERS,
    st.sampled_from([8, 16]),
    st.binary(max_size=4) | st.integers(0, 3).map(lambda n: bytes(784 * n)),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Return one path for all examples of a property, each of which overwrites it."""
    return tmp_path_factory.mktemp("any") / "data"


class TestAnyBytes:
    """Arbitrary content is a valid array or an InputError, and nothing else."""

    @given(content=ANY_CONTENT, packed=st.booleans())
    def test_arbitrary_files(self, path, content, packed):
        path.write_bytes(gzip.compress(content) if packed else content)
        images = read_or_refuse(idx.read_images, path)
        labels = read_or_refuse(idx.read_labels, path)
        if images is not None:
            assert content == struct.pack(">4I", 0x803, *images.shape) + images.tobytes()
        if labels is not None:
            assert content == struct.pack(">2I", 0x801, len(labels)) + labels.tobytes()

    @given(body=st.binary(max_size=64))
    def test_arbitrary_bytes_in_a_gzip_file(self, path, body):
        path.write_bytes(b"\x1f\x8b\x08" + body)
        assert read_or_refuse(idx.read_images, path) is None

    @given(position=st.integers(0), flip=st.integers(1, 255))
    def test_any_damaged_byte_is_noticed_in_gzip_or_harmless(self, path, position, flip):
        packed = bytearray(gzip.compress(IMAGES_FILE))
        packed[position % len(packed)] ^= flip
        path.write_bytes(packed)
        images = read_or_refuse(idx.read_images, path)
        assert images is None or np.array_equal(images, PIXELS)
