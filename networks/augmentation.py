"""Small distortions of training images, in the graph; each depends only on (seed, step).

A digit that is rotated, sheared, scaled, shifted or bent a little is still the same digit: a
network that sees new versions in every epoch learns what they have in common (Simard et al. 2003).
"""

import tensorflow.compat.v1 as tf

ROTATION = 0.2  # radians, at most
SHEAR = 0.15  # pixels per pixel, at most
SCALING = 0.12  # fraction, at most
SHIFT = 2.5  # pixels, at most
BEND = 0.5  # pixels, standard deviation
# The bend is random at this many points along each side, and smooth between them.
BEND_POINTS = 5
# Added to a seed for its bends, to keep them independent of the angles of this or any other run.
FAR = 2**40


def affine(
    images: tf.Tensor, seeds: tf.Tensor, first_image: int = 0, batch_size: int | None = None
) -> tf.Tensor:
    """Rotates, shears, scales and shifts each image by its own random amounts.

    Args:
        images: uint8 or float [batch, height, width], with a background of 0.
        seeds: int64 [2].
        first_image, batch_size: if the images are a part of a batch, the place of the first of them
            and the size of the whole.

    Returns:
        Images of the same shape and dtype, bilinearly interpolated.
    """
    _, height, width = images.shape.as_list()
    count = tf.shape(images)[0]
    whole = count if batch_size is None else batch_size
    # For the whole batch, since rounding depends on how many are computed together.
    uniform = tf.random.stateless_uniform([whole, 6], seeds, minval=-1.0)
    angle, shear, stretch_x, stretch_y, shift_x, shift_y = tf.unstack(uniform, axis=1)
    angle, shear = ROTATION * angle, SHEAR * shear
    stretch_x, stretch_y = 1 + SCALING * stretch_x, 1 + SCALING * stretch_y
    cosine, sine = tf.cos(angle), tf.sin(angle)
    # The matrix maps a position in the result to the position in the image that appears there.
    a, b = stretch_x * cosine, stretch_x * (shear * cosine - sine)
    c, d = stretch_y * sine, stretch_y * (shear * sine + cosine)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    x = middle_x + SHIFT * shift_x - a * middle_x - b * middle_y
    y = middle_y + SHIFT * shift_y - c * middle_x - d * middle_y
    nothing = tf.zeros_like(a)
    transforms = tf.stack([a, b, x, c, d, y, nothing, nothing], axis=1)
    transformed = tf.raw_ops.ImageProjectiveTransformV3(
        images=images[..., tf.newaxis],
        transforms=transforms[first_image : first_image + count],
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return transformed[..., 0]


def elastic(
    images: tf.Tensor, seeds: tf.Tensor, first_image: int = 0, batch_size: int | None = None
) -> tf.Tensor:
    """Applies `affine`, and then bends all images of the batch in one random, smooth way.

    With one bend for all images, bending is a single matrix product and costs next to nothing.

    Args:
        images: float [batch, height, width], with a background of 0.
        seeds, first_image, batch_size: as for `affine`.

    Returns:
        Images of the same shape and dtype, bilinearly interpolated twice.
    """
    _, height, width = images.shape.as_list()
    shape = [1, BEND_POINTS, BEND_POINTS, 2]
    points = tf.random.stateless_normal(shape, seeds + [FAR, 0], stddev=BEND)
    bend = tf.image.resize(points, [height, width], "bicubic", align_corners=True)[0]
    y = tf.range(height, dtype=tf.float32)[:, tf.newaxis] + bend[..., 0]
    x = tf.range(width, dtype=tf.float32)[tf.newaxis, :] + bend[..., 1]
    # Bilinear weights: [position in the result, row of the image] and [position, column].
    rows = _nearness(tf.reshape(y, [-1, 1]), height)
    columns = _nearness(tf.reshape(x, [-1, 1]), width)
    weights = tf.reshape(rows[:, :, tf.newaxis] * columns[:, tf.newaxis, :], [-1, height * width])
    affine_images = affine(images, seeds, first_image, batch_size)
    flat = tf.reshape(affine_images, [-1, height * width])
    return tf.reshape(tf.matmul(flat, weights, transpose_b=True), [-1, height, width])


def _nearness(places: tf.Tensor, size: int) -> tf.Tensor:
    """Returns 1 where a position is that of a pixel, falling to 0 at its neighbours."""
    return tf.nn.relu(1 - tf.abs(places - tf.range(size, dtype=tf.float32)))


AUGMENTATIONS = {"affine": affine, "elastic": elastic}
