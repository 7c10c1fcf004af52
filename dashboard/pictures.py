"""The pictures that TensorBoard shows for a run."""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MISCLASSIFIED_COLUMNS, MISCLASSIFIED_ROWS = 8, 8
MOST_CLASSES_WITH_NUMBERS = 40
# Blue to white to red: the ends of ColorBrewer's RdBu, which is safe for the colour-blind.
WHITE, INK = 127, 255
DIVERGING = np.zeros([256, 3], np.uint8)
DIVERGING[: WHITE + 1] = np.linspace([33, 102, 172], [255, 255, 255], WHITE + 1)
DIVERGING[WHITE:INK] = np.linspace([255, 255, 255], [178, 24, 43], INK - WHITE)
DIVERGING[INK] = 96  # a grey that no weight has
# In pixels. TensorBoard shows the picture about 200 to 350 wide, and drops pixels where it shrinks
# it: thinner lines would vanish here and there.
FILTERS_WIDTH, FILTERS_LINE = 300, 3


def misclassified_grid(
    images: np.ndarray, labels: np.ndarray, predictions: np.ndarray
) -> Image.Image:
    """Draws the first misclassified digits, with `predicted/true` under each, as a line above says.

    Args:
        images: uint8 [n, height, width].
        labels: the true digits [n].
        predictions: the predicted digits [n].
    """
    scale, caption = 2, 20
    font = ImageFont.load_default(size=caption)
    longest = round(font.getlength(f"{max(predictions)}/{max(labels)}"))
    width = max(images.shape[2] * scale, longest) + 8
    height = images.shape[1] * scale + caption + 8
    wrong = np.flatnonzero(labels != predictions)[: MISCLASSIFIED_COLUMNS * MISCLASSIFIED_ROWS]
    rows = max(1, -(-len(wrong) // MISCLASSIFIED_COLUMNS))
    above = caption + 8
    size = (width * MISCLASSIFIED_COLUMNS, above + height * rows)
    grid = Image.new("L", size, color=255)
    draw = ImageDraw.Draw(grid)
    draw.text((size[0] // 2, 2), "predicted / true digit", anchor="ma", font=font, fill=0)
    for place, index in enumerate(wrong):
        row, column = divmod(place, MISCLASSIFIED_COLUMNS)
        middle, top = column * width + width // 2, above + row * height + 2
        digit = Image.fromarray(255 - images[index])
        digit = digit.resize((digit.width * scale, digit.height * scale))
        grid.paste(digit, (middle - digit.width // 2, top))
        draw.text(
            (middle, top + digit.height),
            f"{predictions[index]}/{labels[index]}",
            anchor="ma",
            font=font,
            fill=0,
        )
    return grid


def confusion_picture(matrix: np.ndarray) -> Image.Image:
    """Draws a confusion matrix: the more images in a cell, the darker it is.

    Of many classes, only every tenth is named, and no cell has its number.

    Args:
        matrix: int [classes, classes]; row is the true digit, column the predicted one.
    """
    are_many = len(matrix) > MOST_CLASSES_WITH_NUMBERS
    cell, size = 8 if are_many else 52, 20
    left, top = 3 * size, 3 * size
    font = ImageFont.load_default(size=size)
    width = len(matrix) * cell
    picture = Image.new("L", (left + width + size // 2, top + width + size // 2), color=255)
    draw = ImageDraw.Draw(picture)
    draw.text((left + width / 2, size), "predicted", anchor="mm", font=font, fill=0)
    draw.text((left / 2, top - size / 2), "true", anchor="mm", font=font, fill=0)
    # On a linear scale, ten wrong answers would look like none next to a thousand right ones.
    shades = np.log1p(matrix) / max(np.log1p(matrix.max()), 1)
    for digit in range(0, len(matrix), 10 if are_many else 1):
        middle = (digit + 0.5) * cell
        draw.text((left + middle, top - size / 2), str(digit), anchor="mm", font=font, fill=0)
        draw.text((left / 2, top + middle), str(digit), anchor="mm", font=font, fill=0)
    for (row, column), count in np.ndenumerate(matrix):
        x, y = left + column * cell, top + row * cell
        shade = shades[row, column]
        draw.rectangle((x, y, x + cell, y + cell), fill=int(255 - 225 * shade), outline=200)
        if count and not are_many:
            ink = 255 if shade > 0.5 else 0
            draw.text((x + cell / 2, y + cell / 2), str(count), anchor="mm", font=font, fill=ink)
    return picture


def filter_grid(filters: np.ndarray) -> Image.Image:
    """Draws filters side by side: white is 0, blue is negative, red is positive.

    Args:
        filters: float32 [height, width, count].
    """
    caption, line = 20, FILTERS_LINE
    height, width, count = filters.shape
    columns = next(c for c in range(math.isqrt(count - 1) + 1, count + 1) if count % c == 0)
    scale = max(1, (FILTERS_WIDTH // columns - line) // max(height, width))
    largest = float(np.abs(filters).max())
    colours = np.rint(WHITE * (1 + filters / (largest or 1.0))).astype(np.uint8)
    # To [row, y, column, x], each pixel enlarged, with a line around each filter.
    tiles: np.ndarray = colours.reshape(height, width, -1, columns).transpose(2, 0, 3, 1)
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=3)
    tiles = np.pad(tiles, ((0, 0), (0, line), (0, 0), (0, line)), constant_values=INK)
    table = tiles.reshape(tiles.shape[0] * tiles.shape[1], tiles.shape[2] * tiles.shape[3])
    table = np.pad(table, ((line, 0), (line, 0)), constant_values=INK)
    picture = Image.fromarray(np.pad(table, ((caption, 0), (0, 0)), constant_values=WHITE))
    picture.putpalette(DIVERGING.tobytes())
    draw = ImageDraw.Draw(picture)
    draw.fontmode = "1"  # anti-aliased letters would be drawn in the palette's colours
    text = f"blue -{largest:.3g}, white 0, red {largest:.3g}"
    draw.text((2, 1), text, font=ImageFont.load_default(size=14), fill=INK)
    return picture
