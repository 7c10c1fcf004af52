"""Small distortions of training images, in the graph, each a function of (seed, step) alone.

Digits that are turned, sheared, scaled, shifted or bent a little are the same digits: a network
that sees other ones in every epoch learns what they have in common (Simard et al. 2003).
"""

import tensorflow.compat.v1 as tf

ROTATION = 0.2  # radians, the most
SHEAR = 0.15  # pixels a pixel, the most
SCALING = 0.12  # share, the most
SHIFT = 2.5  # pixels, the most
BEND = 0.5  # pixels, standard deviation
# The bend is given at this many points along each side, and smooth between them.
BEND_POINTS = 5
# From a seed to that of its bends, which are not to follow from the angles of this or another run.
FAR = 2**40


def affine(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Turns, shears, scales and shifts each image by amounts of its own.

    Args:
        images: uint8 or float [batch, height, width], 0 where there is nothing.
        seeds: int64 [2].

    Returns:
        Images of the same shape and dtype, bilinearly interpolated.
    """
    _, height, width = images.shape.as_list()
    uniform = tf.random.stateless_uniform([tf.shape(images)[0], 6], seeds, minval=-1.0)
    angle, shear, stretch_x, stretch_y, shift_x, shift_y = tf.unstack(uniform, axis=1)
    angle, shear = ROTATION * angle, SHEAR * shear
    stretch_x, stretch_y = 1 + SCALING * stretch_x, 1 + SCALING * stretch_y
    cosine, sine = tf.cos(angle), tf.sin(angle)
    # The matrix takes a place in the result to the place in the image that is seen there.
    a, b = stretch_x * cosine, stretch_x * (shear * cosine - sine)
    c, d = stretch_y * sine, stretch_y * (shear * sine + cosine)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    x = middle_x + SHIFT * shift_x - a * middle_x - b * middle_y
    y = middle_y + SHIFT * shift_y - c * middle_x - d * middle_y
    nothing = tf.zeros_like(a)
    transformed = tf.raw_ops.ImageProjectiveTransformV3(
        images=images[..., tf.newaxis],
        transforms=tf.stack([a, b, x, c, d, y, nothing, nothing], axis=1),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return transformed[..., 0]


def elastic(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Does what `affine` does, and then bends all images of the batch in one random, smooth way.

    With one bend for all of them, bending is a product with one matrix, and costs next to nothing.

    Args:
        images: float [batch, height, width], 0 where there is nothing.
        seeds: int64 [2].

    Returns:
        Images of the same shape and dtype, bilinearly interpolated twice.
    """
    _, height, width = images.shape.as_list()
    shape = [1, BEND_POINTS, BEND_POINTS, 2]
    points = tf.random.stateless_normal(shape, seeds + [FAR, 0], stddev=BEND)
    bend = tf.image.resize(points, [height, width], "bicubic", align_corners=True)[0]
    y = tf.range(height, dtype=tf.float32)[:, tf.newaxis] + bend[..., 0]
    x = tf.range(width, dtype=tf.float32)[tf.newaxis, :] + bend[..., 1]
    # [place in the result, row of the image] and [place, column]: bilinear weights.
    rows = _nearness(tf.reshape(y, [-1, 1]), height)
    columns = _nearness(tf.reshape(x, [-1, 1]), width)
    weights = tf.reshape(rows[:, :, tf.newaxis] * columns[:, tf.newaxis, :], [-1, height * width])
    flat = tf.reshape(affine(images, seeds), [-1, height * width])
    return tf.reshape(tf.matmul(flat, weights, transpose_b=True), [-1, height, width])


def _nearness(places: tf.Tensor, size: int) -> tf.Tensor:
    """1 where a place is that of a pixel, falling to 0 at its neighbours."""
    return tf.nn.relu(1 - tf.abs(places - tf.range(size, dtype=tf.float32)))


AUGMENTATIONS = {"affine": affine, "elastic": elastic}
