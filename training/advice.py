"""What a user should know before a training begins. Without TensorFlow, which takes seconds."""

from console import processor
from console.progress import note
from mnist.datasets import Dataset
from storage.run import Run
from training.worker import Worker


def note_before(run: Run, dataset: Dataset, worker: Worker) -> None:
    """Notes what is trained, and what would be better done otherwise."""
    flags = run.flags
    note(
        f"{run.name}: training on {dataset.name}, {len(dataset.train.labels)} images, "
        f"{flags['train_steps']} steps of {flags['batch_size']}"
    )
    processor.note_precision(flags["precision"], flags["model"])
    normalized_together = flags["batch_size"]
    if not flags["sync_batch_norm"]:
        normalized_together //= worker.count
    if flags["batch_norm"] and normalized_together == 1:
        note(
            "warning: batch norm of a dense layer sees one value of each unit at a time, which is "
            "its own mean: it passes nothing on, and the network can't learn. "
            "Take a --batch_size of at least 2 for each set of statistics; 16 or more work well"
        )
