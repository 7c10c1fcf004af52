"""Distorted digits: in the graph, a function of seed and step, and still the same digits."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from augmentation import AUGMENTATIONS
from mnist import synthetic

IMAGES = synthetic.draw_digits(64, seed=1)[0].astype(np.float32) / 255


def distort(kind, images=IMAGES, seed=0, step=0):
    with tf.Graph().as_default(), tf.Session() as session:
        seeds = tf.constant([seed, step], tf.int64)
        return session.run(AUGMENTATIONS[kind](tf.constant(images), seeds))


def middle_of_ink(images):
    """The place, [n, 2], of each image's centre of mass."""
    places = np.stack(np.mgrid[:28, :28], axis=-1)
    return np.einsum("nyx,yxi->ni", images, places) / images.sum(axis=(1, 2))[:, None]


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_a_distortion_is_a_function_of_seed_and_step(kind):
    first = distort(kind, seed=3, step=7)
    np.testing.assert_array_equal(first, distort(kind, seed=3, step=7))
    for seed, step in ((3, 8), (4, 7)):
        other = distort(kind, seed=seed, step=step)
        assert np.mean(np.abs(first - other)) > 0.01


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_every_image_of_a_batch_is_moved_by_an_amount_of_its_own(kind):
    moved = middle_of_ink(distort(kind)) - middle_of_ink(IMAGES)
    assert np.abs(moved).max() < 6, "none leaves the picture"
    assert moved.std(axis=0).min() > 0.5
    assert np.abs(moved.mean(axis=0)).max() < 1, "to no side more than to the other"


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_a_distorted_digit_keeps_its_ink_and_its_range(kind):
    distorted = distort(kind)
    assert distorted.shape == IMAGES.shape and distorted.dtype == np.float32
    assert distorted.min() >= 0 and distorted.max() <= 1.0001
    ink = distorted.sum(axis=(1, 2)) / IMAGES.sum(axis=(1, 2))
    assert 0.6 < ink.min() and ink.max() < 1.6
    assert ink.mean() == pytest.approx(1, abs=0.1)


def test_bending_is_more_than_turning():
    assert np.mean(np.abs(distort("elastic") - distort("affine"))) > 0.005
