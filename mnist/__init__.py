"""Images and labels: the IDX format, the download, drawn digits in MNIST's place, batches.

Nothing of TensorFlow: what is done to images in the graph is in `augmentation`.
"""
