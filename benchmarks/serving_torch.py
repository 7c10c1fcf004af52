"""PyTorch as a server of the default network: with its own runtimes, and as an exporter to ONNX.

python -m benchmarks.serving_torch FOLDER     FOLDER has values.npz, gets pytorch.onnx
"""

import pathlib
import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from benchmarks.pytorch import Network
from serving.formats import OUTPUTS

VALUES, ONNX = "values.npz", "pytorch.onnx"
MODES = ("eager", "TorchScript, frozen", "compile")


class Served(nn.Module):
    """Answers what our exports answer: `serving.formats.OUTPUTS`."""

    def __init__(self, network: Network):
        """Takes a trained network."""
        super().__init__()
        self._network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns classes [n], probabilities [n, 10] and logits [n, 10]."""
        logits = self._network(images)
        return logits.argmax(dim=1), logits.softmax(dim=1), logits


def trained(folder: pathlib.Path) -> Served:
    """Returns the network with the weights and statistics of a checkpoint, for inference."""
    values = np.load(folder / VALUES)
    height, width, channels, units = 7, 7, 64, 1024
    # PyTorch flattens channels first.
    dense = values["dense/weights"].reshape(height, width, channels, units).transpose(3, 2, 0, 1)
    state = {
        "conv1.weight": values["conv1/weights"].transpose(3, 2, 0, 1),
        "conv2.weight": values["conv2/weights"].transpose(3, 2, 0, 1),
        "dense.weight": dense.reshape(units, -1),
        "logits.weight": values["logits/weights"].T,
        "logits.bias": values["logits/bias"],
    }
    ours = {"weight": "scale", "bias": "beta", "running_mean": "pop_mean", "running_var": "pop_var"}
    for norm, layer in (("norm1", "conv1"), ("norm2", "conv2"), ("norm3", "dense")):
        for theirs, name in ours.items():
            state[f"{norm}.{theirs}"] = values[f"{layer}/batch_norm/{name}"]
        state[f"{norm}.num_batches_tracked"] = np.int64(0)
    network = Network().to(memory_format=torch.channels_last)
    network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
    for norm in (network.norm1, network.norm2, network.norm3):
        norm.eps = 1e-5
    return Served(network).eval()


def classifier(folder: pathlib.Path, mode: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from uint8 images [n, 28, 28] to logits [n, 10]."""
    network = trained(folder)
    example = torch.zeros([2, 28, 28], dtype=torch.uint8)
    if mode == "TorchScript, frozen":
        run = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(network, example)))
    else:
        run = torch.compile(network) if mode == "compile" else network

    def classify(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            _, _, logits = (output.numpy() for output in run(torch.from_numpy(images)))
            return logits

    return classify


def main(folder: str) -> None:
    """Writes PyTorch's own export."""
    images = torch.zeros([2, 28, 28], dtype=torch.uint8)
    torch.onnx.export(
        trained(pathlib.Path(folder)),
        (images,),
        pathlib.Path(folder, ONNX),
        input_names=["images"],
        output_names=list(OUTPUTS),
        dynamic_shapes={"images": {0: torch.export.Dim("n")}},
        dynamo=True,
        external_data=False,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
