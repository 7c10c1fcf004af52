"""Images and labels: the IDX format, the download, drawn digits instead of MNIST, batches.

Nothing here uses TensorFlow; operations on images in the graph are in `augmentation`.
"""
