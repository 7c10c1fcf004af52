"""Reading pictures: what many of them show is classified together."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from prediction import answers, preparation, sheet
from prediction.answers import Answer
from prediction.preparation import Prepared
from prediction.sources import Source, Unreadable

# Pictures that are read before they are classified in one batch.
TOGETHER = 500

# From images, uint8 [n, 28, 28], to the probabilities of the digits, float32 [n, 10].
Classify = Callable[[np.ndarray], np.ndarray]


class Read(NamedTuple):
    """A picture that was read, or not."""

    file: str
    prepared: Prepared | None  # None if it can't be read
    problem: str  # why it can't be read; else empty
    thumbnail: Image.Image | None  # for a sheet, if there will be one


def read_all(
    sources: Sequence[Source],
    load: Callable[[], Classify],
    min_probability: float,
    *,
    thumbnails: int = 0,
    on_picture: Callable[[str], None] = lambda name: None,
) -> Iterator[tuple[Read, Answer | None]]:
    """Reads pictures and answers for each, None for one that can't be read, in their order.

    Args:
        sources: the pictures.
        load: returns the classifier; called once, when there is something to classify.
        min_probability: with less for its digit, an answer is unsure.
        thumbnails: of how many pictures to keep one.
        on_picture: called with the name of each picture that has been read.
    """
    classify: Classify | None = None
    for start in range(0, len(sources), TOGETHER):
        together = []
        for number, source in enumerate(sources[start : start + TOGETHER], start):
            together.append(_read(source, number < thumbnails))
            on_picture(source.name)
        images = [image for one in together if one.prepared for image in one.prepared.images]
        if images and classify is None:
            classify = load()
        probabilities = iter(classify(np.stack(images)) if images and classify else ())
        for one in together:
            if one.prepared is None:
                yield one, None
                continue
            rows = [next(probabilities) for _ in one.prepared.images]
            yield one, answers.of(one.file, one.prepared, rows, min_probability)


def _read(source: Source, with_thumbnail: bool) -> Read:
    try:
        picture = source.read()
        prepared = preparation.to_mnist(picture)
    except (Unreadable, ValueError) as error:
        return Read(source.name, None, str(error), None)
    small = sheet.thumbnail(picture) if with_thumbnail else None
    return Read(source.name, prepared, "", small)
