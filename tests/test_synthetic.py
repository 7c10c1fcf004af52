"""The drawn digits: what training and users rely on when these replace MNIST."""

import numpy as np
import pytest

from mnist import synthetic

# Measured on the 60,000 training images of MNIST; the share is that of pixels above zero.
MNIST_MEAN_INTENSITY = 33.3
MNIST_INK_SHARE = 0.191


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """A thousand digits: enough for their statistics to be stable."""
    return synthetic.draw_digits(1000, seed=1)


def test_same_seed_draws_same_digits(drawn):
    images, labels = synthetic.draw_digits(1000, seed=1)
    np.testing.assert_array_equal(images, drawn[0])
    np.testing.assert_array_equal(labels, drawn[1])


def test_other_seed_draws_other_digits(drawn):
    images, labels = synthetic.draw_digits(1000, seed=2)
    assert (images != drawn[0]).any(axis=(1, 2)).all()
    assert (labels != drawn[1]).any()


def test_no_digit_is_drawn_twice(drawn):
    assert len(np.unique(drawn[0].reshape(1000, -1), axis=0)) == 1000


@pytest.mark.parametrize("count", [1, 7, 257, 1003])
def test_shapes_types_and_balance(count):
    images, labels = synthetic.draw_digits(count, seed=3)
    assert images.shape == (count, 28, 28) and images.dtype == np.uint8
    assert labels.shape == (count,) and labels.dtype == np.uint8
    per_class = np.bincount(labels, minlength=10)
    assert len(per_class) == 10
    assert per_class.max() - per_class.min() <= 1


def test_labels_are_shuffled(drawn):
    """Every class occurs early: a validation split off the front must not miss one."""
    assert set(drawn[1][:100]) == set(range(10))
    assert (np.diff(drawn[1].astype(int)) < 0).mean() > 0.3


@pytest.mark.parametrize("count", [0, -5])
def test_count_below_one_is_refused(count):
    with pytest.raises(ValueError, match=str(count)):
        synthetic.draw_digits(count, seed=1)


def test_ink_fits_the_box_of_mnist(drawn):
    ink = drawn[0] > 0
    heights, widths = (extent(ink.any(axis=axis)) for axis in (2, 1))
    assert (np.maximum(heights, widths) == 20).all()
    # The aspect ratio is kept: a one is narrow, though it fills the height.
    assert np.median(widths[drawn[1] == 1]) < 12


def test_center_of_mass_is_the_center(drawn):
    """MNIST shifts by whole pixels, so the centre is within half a pixel of pixel (14, 14)."""
    images = drawn[0].astype(float)
    mass = images.sum(axis=(1, 2))
    for axis in (1, 2):
        center = images.sum(axis=axis) @ np.arange(28) / mass
        assert np.abs(center - 14).max() < 0.6
        assert abs(center.mean() - 14) < 0.1


def test_border_is_black(drawn):
    """Almost no ink reaches the edge, which 1.4 % of MNIST's images touch."""
    border = np.ones((28, 28), bool)
    border[1:-1, 1:-1] = False
    assert (drawn[0][:, border] > 0).any(axis=1).mean() < 0.03


def test_ink_resembles_mnist(drawn):
    images = drawn[0]
    assert images.max() == 255
    assert images.mean() == pytest.approx(MNIST_MEAN_INTENSITY, rel=0.15)
    assert (images > 0).mean() == pytest.approx(MNIST_INK_SHARE, rel=0.15)


def extent(inked: np.ndarray) -> np.ndarray:
    """Return the distance from the first to the last inked row, [count], of [count, rows]."""
    rows = inked.shape[1]
    return rows - inked.argmax(axis=1) - inked[:, ::-1].argmax(axis=1)
