"""Images and labels, before they are in a graph.

Nothing here uses TensorFlow; operations on images in the graph are in `networks/augmentation.py`.

    datasets.py       the data sets by name, and their splits
    idx.py            the format in which MNIST is published
    download.py       finding its four files, and downloading those that are missing
    folders.py        a folder of pictures, each class in a folder of its own
    picture_files.py  one picture, whatever its format, size and mode
    synthetic.py      drawn digits
    batches.py        shuffled batches, accessible by step
"""
