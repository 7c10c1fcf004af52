"""Distorted digits: in the graph, a function of seed and step, and still the same digits."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from mnist import synthetic
from networks import augmentation
from networks.augmentation import AUGMENTATIONS

IMAGES = synthetic.draw_digits(64, seed=1)[0].astype(np.float32) / 255


def distort(kind, images=IMAGES, seed=0, step=0):
    with tf.Graph().as_default(), tf.Session() as session:
        seeds = tf.constant([seed, step], tf.int64)
        return session.run(AUGMENTATIONS[kind](tf.constant(images), seeds))


def middle_of_ink(images):
    """The centre of mass, [n, 2], of each image."""
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


@pytest.fixture
def only(monkeypatch):
    """Keeps the distortions whose amounts are named, and turns off the others."""

    def take_away_all_but(*names):
        for name in {"ROTATION", "SHEAR", "SCALING", "SHIFT", "BEND"} - set(names):
            monkeypatch.setattr(augmentation, name, 0.0)

    return take_away_all_but


def spot(count=200, middle=(13.5, 13.5), width=3.0):
    """Images of one round spot."""
    y, x = np.mgrid[:28, :28]
    ink = np.exp(-((y - middle[0]) ** 2 + (x - middle[1]) ** 2) / (2 * width**2))
    return np.repeat(ink[np.newaxis].astype(np.float32), count, axis=0)


def covariance_of_ink(images):
    """The spread of each image's ink, [n, 2, 2], in square pixels; y first."""
    places = np.stack(np.mgrid[:28, :28], axis=-1) - middle_of_ink(images)[:, None, None]
    share = images / images.sum(axis=(1, 2), keepdims=True)
    return np.einsum("nyx,nyxi,nyxj->nij", share, places, places)


def assert_uniform(values, most):
    """Spread over [-most, most] as 200 uniform numbers would be."""
    assert 0.9 * most < np.abs(values).max() < 1.1 * most
    assert values.std() == pytest.approx(most / np.sqrt(3), rel=0.15)
    assert abs(values.mean()) < 0.25 * most


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_without_amounts_nothing_is_distorted(kind, only):
    only()
    np.testing.assert_allclose(distort(kind), IMAGES, atol=1e-5)


def test_shifted_is_elsewhere_and_else_the_same(only):
    only("SHIFT")
    shifted = distort("affine", spot())
    for moved in (middle_of_ink(shifted) - 13.5).T:
        assert_uniform(moved, augmentation.SHIFT)


@pytest.mark.parametrize("name", ["ROTATION", "SHEAR"])
def test_turned_and_sheared_are_so_about_the_middle(name, only):
    """Measures the lean of an upright bar: how much further right its ink is, per row down."""
    only(name)
    bar = np.zeros([200, 28, 28], np.float32)
    bar[:, 6:22, 13:15] = 1
    leaning = distort("affine", bar)
    np.testing.assert_allclose(middle_of_ink(leaning), 13.5, atol=0.05)
    reach = covariance_of_ink(leaning)
    assert_uniform(reach[:, 0, 1] / reach[:, 0, 0], getattr(augmentation, name))


def test_scaled_is_larger_or_smaller_in_each_direction_by_itself(only):
    only("SCALING")
    scaled = distort("affine", spot())
    np.testing.assert_allclose(middle_of_ink(scaled), 13.5, atol=0.05)
    reach = covariance_of_ink(scaled)
    original = covariance_of_ink(spot(1))[0]
    # The matrix maps places in the result to places in the image, hence the reciprocal.
    stretch = [1 - np.sqrt(original[i, i] / reach[:, i, i]) for i in (0, 1)]
    for along in stretch:
        assert_uniform(along, augmentation.SCALING)
    assert abs(np.corrcoef(*stretch)[0, 1]) < 0.3


def test_bent_is_moved_otherwise_from_place_to_place_but_smoothly(only):
    only("BEND")
    places = np.array([(y, x) for y in (6, 14, 22) for x in (6, 7, 14, 22)], float)
    spots = np.concatenate([spot(1, place, width=1.5) for place in places])
    seen = []
    for step in range(10):
        moved = middle_of_ink(distort("elastic", spots, step=step)) - places
        seen.append(moved)
        assert np.abs(moved).max() < 5 * augmentation.BEND
        next_to_it = np.abs(moved[0] - moved[1])
        assert next_to_it.max() < 0.6 * augmentation.BEND
    of_all = np.array(seen)
    assert of_all.std() == pytest.approx(augmentation.BEND, rel=0.4)
    assert of_all.std(axis=1).mean() > 0.5 * augmentation.BEND, "not all by the same"


def test_a_bend_does_not_follow_from_the_angles_of_the_run_with_the_next_seed(only):
    """Both use pairs of numbers as seeds; equal pairs would give equal random bits."""
    only("BEND")
    keys = []
    for kind, seed in (("elastic", 5), ("affine", 6)):
        with tf.Graph().as_default() as graph, tf.Session() as session:
            AUGMENTATIONS[kind](tf.constant(IMAGES), tf.constant([seed, 3], tf.int64))
            draws = [
                n for n in graph.get_operations() if n.type.startswith("StatelessRandomGetKey")
            ]
            keys += [session.run(draw.outputs[0]).tolist() for draw in draws]
    assert len(keys) == 3 and len({str(key) for key in keys}) == 3
