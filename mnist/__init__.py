"""Images and labels: the IDX format, folders of pictures, the download, drawn digits, batches.

Nothing here uses TensorFlow; operations on images in the graph are in `networks/augmentation.py`.
"""
