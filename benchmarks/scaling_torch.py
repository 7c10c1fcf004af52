"""PyTorch's DistributedDataParallel on gloo as one of several workers, as its documentation has it.

With its own statistics on each worker, since `SyncBatchNorm` runs on GPUs only.
"""

import json
import os

import torch
import torch.distributed
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from benchmarks.pytorch import Network
from benchmarks.scaling_contestant import parse_arguments, random_images, serve


def main() -> None:
    """Trains."""
    arguments = parse_arguments(["ddp"])
    config = json.loads(os.environ["TF_CONFIG"])
    addresses, rank = config["cluster"]["worker"], config["task"]["index"]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = Network().to(memory_format=torch.channels_last).train()
    if len(addresses) > 1:
        torch.distributed.init_process_group(
            "gloo", f"tcp://{addresses[0]}", rank=rank, world_size=len(addresses)
        )
        network = DistributedDataParallel(network)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
    images, labels = map(torch.from_numpy, random_images(arguments.batch_size))
    part = slice(rank, None, len(addresses))
    images, labels = images[part], labels[part].long()

    def step() -> None:
        loss = functional.cross_entropy(network(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()

    serve(step)


if __name__ == "__main__":
    main()
