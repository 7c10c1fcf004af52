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
    hint = precision_hint(flags["precision"], flags["model"], processor.features())
    if hint:
        note(hint)
    normalized_together = flags["batch_size"]
    if not flags["sync_batch_norm"]:
        normalized_together //= worker.count
    if flags["batch_norm"] and normalized_together == 1:
        note(
            "warning: batch norm of a dense layer sees one value of each unit at a time, which is "
            "its own mean: it passes nothing on, and the network can't learn. "
            "Take a --batch_size of at least 2 for each set of statistics; 16 or more work well"
        )


def precision_hint(precision: str, network: str, features: frozenset[str] | None) -> str | None:
    """Returns a hint if another precision would be better here, or None."""
    if features is None:
        return None
    found = [name.upper() for name in processor.BFLOAT16_FEATURES if name in features]
    # The multiplications of the MLP are too small for it to pay.
    if precision == "float32" and found and network != "mlp":
        return (
            f"hint: this processor has {found[0]}: --precision=bfloat16 trains about 1.5 times as "
            "fast, to the same accuracy (docs/results/README.md)"
        )
    if precision == "bfloat16" and processor.emulates_bfloat16(features):
        is_emulated_by_onednn = not features.isdisjoint(processor.EMULATION_FEATURES)
        outcome = "will not be faster" if is_emulated_by_onednn else "takes ten times as long"
        return (
            "hint: this processor has neither AMX_BF16 nor AVX512_BF16: --precision=bfloat16 "
            f"{outcome}; add --precision=float32, which is as accurate"
        )
    return None
