"""What stands between the pixels and a step.

Everything here adds operations to the default graph, and nothing else. `model.py` puts them
together; only batch norm is imported.

    augmentation.py   distortions of the images
    architectures.py  the networks, from the pixels to the logits
    losses.py         what a training minimizes and shows
    optimization.py   how weights change in a step
    monitoring.py     what can be watched of a network
"""
