"""PyTorch: same network, batch size, optimizer and data, set up as its documentation advises."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import contestant


class Network(nn.Module):
    """The network that `networks/architectures.py` calls cnn."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 5, padding=2, bias=False)
        self.norm1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2, bias=False)
        self.norm2 = nn.BatchNorm2d(64)
        self.dense = nn.Linear(7 * 7 * 64, 1024, bias=False)
        self.norm3 = nn.BatchNorm1d(1024)
        self.logits = nn.Linear(1024, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the logits [n, 10] of uint8 images [n, 28, 28]."""
        hidden = (images.to(torch.float32) / 255).unsqueeze(1)
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        # Pooled before ReLU, as in networks/architectures.py: the same function with less work.
        hidden = functional.relu(functional.max_pool2d(self.norm1(self.conv1(hidden)), 2))
        hidden = functional.relu(functional.max_pool2d(self.norm2(self.conv2(hidden)), 2))
        hidden = functional.relu(self.norm3(self.dense(hidden.flatten(1))))
        return self.logits(hidden)


def main() -> None:
    """Trains the network."""
    arguments = contestant.parse_arguments(__doc__, mode=["eager", "compile"])
    images, labels = (
        torch.from_numpy(np.array(part)) for part in contestant.training_images(arguments.data_dir)
    )
    labels = labels.long()
    torch.manual_seed(0)
    network = Network().to(memory_format=torch.channels_last).train()
    # `fused=True` was the fastest of PyTorch's three implementations here.
    optimizer = torch.optim.Adam(network.parameters(), contestant.LEARNING_RATE, fused=True)

    def loss_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        is_bfloat16 = arguments.precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
            logits = network(images)
        return functional.cross_entropy(logits.float(), labels)

    if arguments.mode == "compile":
        loss_of = torch.compile(loss_of)

    def train(count: int) -> None:
        order = torch.randperm(len(labels))
        for k in range(count // arguments.batch_size):
            chosen = order[k * arguments.batch_size : (k + 1) * arguments.batch_size]
            loss = loss_of(images[chosen], labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            # As in train.py, each step's loss is read.
            loss.item()

    contestant.serve(train)


if __name__ == "__main__":
    main()
