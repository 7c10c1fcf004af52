"""What a trained network says of people's own pictures.

    preparation.py  from a picture to images as MNIST has them: `to_mnist`, the way through
    ink.py          takes out the paper and the light
    pieces.py       the connected pieces of ink, and which of them belong to one digit
    form.py         MNIST's form: box, centre of mass, width of strokes
    members.py      which trained networks can read people's pictures
    classifier.py   their probabilities: `Classifier`
    sources.py      files, folders, IDX files, standard input
    reading.py      many pictures, classified together
    answers.py      what is said of a picture, as a line, JSON and CSV
    sheet.py        a picture of what the network saw
    inspection.py   what batch norm does with an image, in inference and in training
    page.py         a page to draw on: the server; `page.html` is the page

Only `classifier.py`, `inspection.py` and `page.py` import TensorFlow.
"""
