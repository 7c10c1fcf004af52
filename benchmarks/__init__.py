"""What the documents' figures come from: speed and accuracy, each measured by one command."""

from runtime import processor

# For everything that they compare, and before any of it imports TensorFlow.
processor.use_onednn()
