"""The source of the figures in the docs: speed and accuracy, each measured by one command."""

from console import processor

# For everything they compare, and before any of it imports TensorFlow.
processor.use_onednn()
