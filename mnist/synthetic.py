"""Draws digits that look handwritten, to stand in for MNIST on an offline machine.

A digit is drawn the way a person writes it: a pen follows a few strokes, in one of several
handwriting styles. Each digit's strokes are bent, stretched and slanted at random and drawn with
its own pen, then normalized as MNIST's digits were (LeCun et al. 1998, "Gradient-based
learning applied to document recognition"). A network trained on these images alone also reads
the real ones.
"""

import numpy as np

# The styles of each digit. A style is its weight (how common it is among the digit's styles) and
# its strokes: points "x,y" as in an SVG polyline, x from 0 (left) to 100 (right) and y from 0
# (top) to 100 (bottom). The pen runs through the points in a smooth curve; a point given twice is
# a sharp corner, and "|" lifts the pen.
STYLES = {
    0: [
        (4, "50,0 25,14 12,50 25,86 50,100 75,86 88,50 75,14 50,0"),  # oval
        (3, "62,8 40,2 18,22 10,60 26,92 52,99 78,80 88,45 76,15 55,4 42,14"),  # overlapping
        (1, "36,6 16,28 12,62 30,93 55,98 80,78 87,42 76,12 58,8"),  # open at the top
        (2, "76,2 40,6 14,44 22,84 50,100 78,82 88,45 74,16 48,14 36,34"),  # curl inside
        (1, "30,12 50,0 76,14 88,50 76,86 50,100 24,86 12,50 24,18 44,6"),  # clockwise
        (1, "66,0 36,10 12,52 24,90 56,98 84,66 86,28 66,6 46,30 50,52"),  # hook to the middle
    ],
    1: [
        (9, "50,0 50,33 50,67 50,100"),  # plain
        (2, "49,0 52,33 49,67 51,100"),  # wavy
        (2, "32,26 52,0 52,0 52,50 52,100"),  # flag
        (1, "28,22 52,0 52,0 52,50 52,100 | 20,100 52,100 84,99"),  # flag and base
    ],
    2: [
        (3, "16,25 30,6 52,0 74,10 76,32 60,57 40,78 16,97 16,97 50,96 92,95"),  # flat base
        (3, "16,22 34,3 60,2 74,18 70,42 52,68 30,92 12,94 10,80 28,74 52,86 72,96 94,90"),  # loop
        (2, "15,10 48,5 80,6 80,6 50,50 14,95 14,95 50,94 92,92"),  # like a Z
        (2, "20,20 36,3 60,2 75,18 70,42 50,70 18,96 18,96 38,84 60,94 94,88"),  # wavy base
        (3, "20,20 40,2 66,4 76,26 62,56 38,86 14,98 2,84 18,68 46,70 70,80 100,76"),  # broad loop
        (2, "28,14 50,0 72,12 70,40 52,70 28,96 8,90 14,68 40,62 66,72 96,90"),  # tall loop
        (2, "16,26 42,2 70,12 62,50 34,86 8,96 6,76 36,66 66,66 100,56"),  # rising tail
        (1, "38,34 18,22 34,2 68,2 80,26 62,60 34,90 8,96 12,78 46,76 98,92"),  # hooked
        (2, "16,26 34,2 66,2 82,28 70,60 44,84 20,88 14,74 36,66 64,84 90,98"),  # falling tail
        (2, "26,18 48,0 74,14 76,44 58,78 30,98 10,88 18,72 44,72 80,92"),  # short tail
    ],
    3: [
        (3, "18,12 42,0 70,9 72,32 44,46 44,46 74,56 80,80 55,100 28,97 12,86"),  # two bows
        (2, "18,14 42,0 68,12 62,36 40,48 30,45 42,42 68,54 76,76 56,98 15,90"),  # looped waist
        (2, "15,5 46,4 78,3 78,3 45,42 45,42 75,55 78,80 52,100 10,90"),  # flat top
        (2, "20,8 48,0 70,12 64,32 48,45 62,54 74,72 64,92 40,100 10,92"),  # flowing
        (1, "26,20 40,2 66,4 68,26 38,42 38,42 68,46 74,70 50,94 10,98"),  # small top
        (1, "8,16 30,0 66,2 74,24 40,40 40,40 66,48 70,68 56,86 40,100"),  # short tail
        (1, "24,10 54,0 80,14 66,36 32,46 32,46 60,50 72,66 58,90 20,100 4,82 24,74"),  # curled
        (1, "12,10 50,0 78,10 50,38 38,44 38,44 62,52 66,72 52,88 44,100"),  # hanging tail
        (1, "22,10 50,0 70,14 52,40 34,44 62,46 82,70 58,98 20,98 6,84"),  # big bottom
    ],
    4: [
        (3, "26,4 22,30 14,54 14,54 50,55 90,50 | 72,2 68,50 64,100"),  # open
        (2, "60,0 38,32 8,64 8,64 50,65 94,62 | 60,0 60,50 60,100"),  # closed
        (2, "22,2 14,30 28,48 50,46 72,36 | 78,2 72,50 66,100"),  # cup
        (1, "66,4 40,28 14,62 14,62 48,60 92,52 | 76,20 66,60 56,100"),  # nearly closed
        (1, "22,6 18,38 28,52 50,50 72,30 78,4 78,4 70,50 66,100"),  # one stroke
        (1, "16,4 14,46 14,46 46,46 84,44 | 82,0 80,50 80,100"),  # square
    ],
    5: [
        (3, "28,6 22,45 22,45 52,38 78,54 78,80 52,98 10,92 | 28,6 58,4 92,2"),  # two strokes
        (3, "88,2 56,4 28,6 28,6 22,44 22,44 52,40 76,54 76,80 48,98 10,90"),  # one stroke
        (2, "84,4 50,2 26,20 40,42 66,56 76,78 52,98 12,92"),  # like an S
        (2, "98,0 66,6 42,8 42,8 28,38 28,38 54,46 62,68 44,92 4,94"),  # slanted
        (1, "78,4 28,4 28,4 24,40 24,40 60,36 82,62 66,94 36,98 16,80 30,68"),  # curled
        (1, "84,0 24,4 24,4 22,36 22,36 60,32 80,54 66,80 36,100"),  # short tail
        (1, "86,4 48,0 22,14 24,42 54,44 80,60 78,88 46,100 18,94 14,80"),  # round shoulder
        (1, "34,16 18,50 18,50 46,42 70,56 70,82 44,100 8,92 | 38,10 70,8 100,2"),  # loose bar
        (2, "86,2 36,6 36,6 24,42 24,42 56,38 78,56 76,82 48,100 16,94 6,76"),  # curled end
        (1, "92,4 42,10 42,10 20,50 20,50 50,44 70,58 66,80 40,98 2,90"),  # long neck
    ],
    6: [
        (3, "68,0 40,22 20,55 24,86 50,100 77,88 78,66 56,54 34,64 22,80"),  # bent stem
        (2, "50,0 34,32 24,66 32,92 52,100 70,86 66,66 48,62 30,78"),  # straight stem
        (2, "66,2 28,25 8,62 30,95 70,94 90,70 68,50 40,62 38,86"),  # broad bowl
        (1, "76,10 54,0 26,24 18,62 34,96 64,96 78,74 62,54 36,60 22,74"),  # hooked top
        (2, "30,0 12,34 10,74 34,98 68,98 92,76 84,50 62,46 46,64 48,90"),  # bowl at the right
        (1, "90,2 46,20 12,60 18,92 48,98 74,80 70,64 44,66 18,86"),  # leaning
    ],
    7: [
        (4, "12,8 48,6 86,4 86,4 60,48 46,100"),  # plain
        (3, "12,8 48,6 84,4 84,4 60,48 46,100 | 22,56 54,52 90,48"),  # barred
        (2, "14,26 18,6 18,6 50,8 82,5 82,5 72,50 66,100"),  # serif
        (2, "10,18 32,5 68,4 78,20 62,54 48,100"),  # round shoulder
        (2, "10,32 20,10 46,16 86,2 86,2 56,50 34,100"),  # wavy top
        (1, "10,14 40,2 76,6 74,30 52,60 42,100 | 20,54 50,54 88,50"),  # round and barred
        (1, "6,36 22,8 40,26 66,22 88,0 88,0 60,44 30,100"),  # dented top
        (2, "14,48 20,10 20,10 50,10 80,8 80,8 72,54 66,100"),  # long serif
        (1, "30,26 46,4 74,2 74,26 56,56 44,100 | 14,58 50,54 94,50"),  # hooked and barred
        (1, "36,22 48,6 62,2 62,2 60,50 52,100"),  # narrow
    ],
    8: [
        (3, "74,14 50,0 26,15 32,36 52,50 74,68 72,90 50,100 27,90 26,68 48,50 70,32 74,14"),  # S
        (2, "50,47 27,36 28,9 50,0 72,9 73,36 50,47 22,60 22,88 50,99 78,88 78,60 50,47"),  # rings
        (2, "86,6 56,0 32,14 34,34 56,52 66,76 50,98 30,92 32,70 56,46 78,22 88,10"),  # open top
        (1, "28,8 30,30 62,60 72,86 48,100 26,86 38,60 66,34 70,10 48,0 28,12"),  # crossed
        (2, "62,20 44,6 26,20 36,42 56,66 58,90 40,100 22,88 32,66 56,42 76,20 98,0"),  # arm
        (1, "26,100 38,70 64,42 72,18 52,0 28,14 34,40 58,62 78,94"),  # ribbon
        (1, "46,42 24,34 18,9 40,0 66,4 74,22 46,42 20,58 14,82 40,99 76,92 84,66 46,42"),  # broad
        (2, "92,10 62,0 26,4 16,26 44,46 60,66 58,92 40,100 26,84 40,58 72,36 86,24"),  # broad top
        (1, "78,8 46,0 22,18 36,40 66,56 84,80 60,100 24,98 14,78 38,54 62,36 80,20"),  # heavy
        (1, "70,30 64,8 46,2 34,18 44,40 62,66 64,88 46,100 30,86 44,60 70,36 96,4"),  # closed arm
    ],
    9: [
        (3, "72,14 48,2 26,22 30,46 54,46 74,16 74,16 72,58 70,100"),  # straight tail
        (2, "72,14 48,2 26,22 30,46 54,46 74,16 76,54 66,90 42,100 22,92"),  # curved tail
        (3, "74,8 50,2 28,20 30,42 52,42 76,10 76,10 62,56 48,100"),  # slanted tail
        (2, "66,24 56,4 34,8 24,30 36,48 58,38 70,14 70,56 62,100"),  # round
        (2, "80,6 46,0 14,24 18,48 44,48 72,28 84,4 84,4 74,50 60,100"),  # broad head
        (1, "68,4 38,8 20,34 34,54 58,44 72,22 60,2 50,0 74,10 74,60 68,100"),  # closed ring
        (1, "84,8 52,0 26,16 28,40 50,44 78,34 78,34 74,70 68,100"),  # low tail
        (2, "62,6 30,16 16,46 34,64 60,50 76,10 76,10 76,56 82,100"),  # large head
        (1, "70,6 46,0 36,16 46,30 64,26 76,8 76,8 58,50 36,100"),  # small head
        (1, "88,6 54,0 26,18 30,44 56,42 76,22 76,22 66,62 52,100"),  # high tail
        (1, "72,16 54,0 32,18 30,42 52,46 70,24 74,14 74,60 54,96 30,98"),  # oval and curved tail
    ],
}

PEN_POINTS = 80  # positions of the pen per digit: close enough for the dots to join into lines
BOX = 20  # pixels: MNIST fits the ink into a square box of this size ...
FIELD = 28  # pixels: ... and places the box in an image of this size
EDGE = 1.1  # pixels over which the edge of the ink fades from white to black
CHUNK = 256  # images drawn at a time: few enough for their distances to stay in the cache


def draw_digits(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` digits in random order, equally many of each class (to within one).

    Returns the images, uint8 [count, 28, 28], white ink (255) on black (0), and their labels,
    uint8 [count], 0 to 9. The same seed draws the same digits. Raises ValueError if `count` is
    less than 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, found {count}")
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 10).astype(np.uint8)
    paths = _slant(_bend(_write(labels, rng), rng), rng)
    radii = _press(count, rng)

    images = np.empty((count, FIELD, FIELD), np.uint8)
    for start in range(0, count, CHUNK):
        chunk = slice(start, start + CHUNK)
        images[chunk] = _center(_draw(paths[chunk], radii[chunk]))
    return images, labels


def _write(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the pen's path for each label, [count, PEN_POINTS, 2]: x and y, from 0 to 1."""
    paths = np.empty((len(labels), PEN_POINTS, 2))
    for digit, styles in STYLES.items():
        weights = np.array([weight for weight, _ in styles])
        members = np.flatnonzero(labels == digit)
        chosen = rng.choice(len(styles), len(members), p=weights / weights.sum())
        for style, (_, strokes) in enumerate(styles):
            points, segments = _parse(strokes)
            writers = members[chosen == style]
            jitter = rng.normal(0, 0.02, (len(writers), *points.shape))
            paths[writers] = _spline(points, segments) @ (points + jitter)
    return paths


def _parse(strokes: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a style's points, [points, 2], and its segments, [segments, 4].

    A segment runs from its second to its third point; the first and fourth shape its ends.
    """
    points: list[list[float]] = []
    segments: list[tuple[int, ...]] = []
    for stroke in strokes.split("|"):
        curve: list[int] = []
        for text in stroke.split():
            point = [float(number) / 100 for number in text.split(",")]
            if curve and point == points[-1]:  # a corner: one curve ends, the next begins
                segments += _curve_segments(curve)
                curve = curve[-1:]
            else:
                curve.append(len(points))
                points.append(point)
        segments += _curve_segments(curve)
    return np.array(points), np.array(segments)


def _curve_segments(curve: list[int]) -> list[tuple[int, ...]]:
    """Return the segments of a smooth curve. Its end points stand in for missing neighbours."""
    padded = [curve[0], *curve, curve[-1]]
    return [tuple(padded[i : i + 4]) for i in range(len(curve) - 1)]


def _spline(points: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Return the matrix [PEN_POINTS, points] that turns points into an evenly paced path.

    The path is a Catmull-Rom spline (Catmull and Rom 1974). It is linear in the points, so one
    matrix serves every digit of a style, however its points are jittered.
    """
    lengths = np.linalg.norm(points[segments[:, 2]] - points[segments[:, 1]], axis=1)
    ends = lengths.cumsum()
    travelled = np.linspace(0, ends[-1], PEN_POINTS)
    segment = np.searchsorted(ends, travelled)
    t = 1 - (ends[segment] - travelled) / lengths[segment]  # from 0 to 1 along the segment
    weights = [
        -t + 2 * t**2 - t**3,
        2 - 5 * t**2 + 3 * t**3,
        t + 4 * t**2 - 3 * t**3,
        -(t**2) + t**3,
    ]
    matrix = np.zeros((PEN_POINTS, len(points)))
    rows = np.arange(PEN_POINTS)[:, None]
    np.add.at(matrix, (rows, segments[segment]), np.stack(weights, axis=1) / 2)
    return matrix


def _bend(paths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Displace the paths by a smooth random field: the elastic distortion of Simard et al. (2003).

    Simard smooths noise with a Gaussian, pixel by pixel. A sum of waves with normal frequencies
    approximates such a field (Rahimi and Recht 2007) and is evaluated only where the pen passes.
    """
    count, waves = len(paths), 4
    frequencies = rng.normal(0, 2.8, (count, 2, waves))
    phases = rng.uniform(0, 2 * np.pi, (count, 1, waves))
    amplitudes = rng.normal(0, 0.06, (count, waves, 2))
    return paths + np.sin(paths @ frequencies + phases) @ amplitudes


def _slant(paths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stretch, shear and rotate each path: a hand's proportions and slant."""
    shape = (len(paths), 1)
    width = rng.lognormal(0, 0.18, shape)
    shear = rng.normal(0.15, 0.25, shape)  # above zero on average: most hands lean to the right
    angle = rng.normal(0, 0.12, shape)
    y = paths[..., 1]
    x = width * paths[..., 0] - shear * y
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def _press(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the radius of the pen along each path, [count, PEN_POINTS], in the paths' units.

    Every digit has its own pen, whose width varies along the path with the hand's pressure.
    """
    waves = 3
    pen = rng.lognormal(np.log(0.08), 0.3, (count, 1))
    frequencies = rng.uniform(3, 15, (count, waves, 1))
    phases = rng.uniform(0, 2 * np.pi, (count, waves, 1))
    pressure = np.sin(frequencies * np.linspace(0, 1, PEN_POINTS) + phases).sum(axis=1)
    return pen * (1 + 0.1 * pressure)


def _draw(paths: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return the ink that round pens leave on the paths, uint8 [count, BOX, BOX].

    The ink fills the box in its longer direction. A pixel's brightness follows from its distance
    to the edge of the ink, which is negative inside.
    """
    low = (paths - radii[..., None]).min(axis=1)
    high = (paths + radii[..., None]).max(axis=1)
    scale = (BOX - EDGE) / (high - low).max(axis=1, keepdims=True)
    # The ink begins at a whole pixel, as the bounding box of a scan does.
    corner = np.trunc((BOX - EDGE - (high - low) * scale) / 2) + EDGE / 2
    pixels = (paths - low[:, None]) * scale[:, None] + corner[:, None]

    # Images come last, so that the innermost loops run over long contiguous rows.
    x, y = np.ascontiguousarray(pixels.transpose(2, 1, 0), np.float32)
    pens = np.ascontiguousarray((radii * scale).T, np.float32)
    centers = np.arange(BOX, dtype=np.float32)[:, None] + 0.5
    distance = np.full((BOX, BOX, len(paths)), np.inf, np.float32)
    for pen_x, pen_y, pen in zip(x, y, pens, strict=True):
        rows, columns = (centers - pen_y) ** 2, (centers - pen_x) ** 2
        np.minimum(distance, np.sqrt(rows[:, None] + columns) - pen, out=distance)
    brightness = np.clip(0.5 - distance / EDGE, 0, 1)
    return (255 * brightness).round().astype(np.uint8).transpose(2, 0, 1)


def _center(boxes: np.ndarray) -> np.ndarray:
    """Place each box in a black field, its centre of mass at pixel (14, 14), as in MNIST.

    The shift is a whole number of pixels, so the ink stays as sharp as it was drawn.
    """
    index = np.arange(BOX)
    mass = boxes.sum(axis=(1, 2))
    center = np.stack([boxes.sum(axis=2) @ index, boxes.sum(axis=1) @ index], axis=1)
    # The rare digit with nearly all its ink on one side would leave the field: keep it inside.
    shift = np.rint(FIELD / 2 - center / mass[:, None]).clip(0, FIELD - BOX).astype(int)
    rows, columns = (shift[:, :, None] + index).transpose(1, 0, 2)
    fields = np.zeros((len(boxes), FIELD, FIELD), np.uint8)
    image = np.arange(len(boxes))[:, None, None]
    fields[image, rows[:, :, None], columns[:, None, :]] = boxes
    return fields
