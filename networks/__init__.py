"""What stands between the pixels and a step: distortions, the networks, losses, optimizers.

Everything here adds operations to the default graph, and nothing else. `model.py` puts them
together; only batch norm is imported.
"""
