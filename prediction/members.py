"""Which trained networks can read people's pictures."""

from console.errors import InputError
from console.progress import note
from mnist.datasets import describe_form
from storage import finding
from storage.checkpoints import Checkpoint
from storage.run import Run

FORM = {"image_size": [28, 28], "classes": 10}


def find(checkpoint_dir: str, names: str | None, path: str | None) -> list[tuple[Run, Checkpoint]]:
    """Finds the checkpoints to predict with; notes which were not trained on MNIST.

    Args:
        checkpoint_dir: the folder of the runs.
        names: of one or more of them, separated by commas; None means the run trained last.
        path: of a particular checkpoint, used instead of `names`.

    Raises:
        InputError: there is none, it is damaged, or its network is not for MNIST's form.
    """
    each = names.split(",") if names else [None]
    found = [finding.find_checkpoint(checkpoint_dir, name, path) for name in each]
    for run, _ in found:
        form = {name: run.dataset[name] for name in FORM}
        if form != FORM:
            raise InputError(
                f"{run.folder}: expected a run on images of MNIST's form, to which pictures are "
                f"brought ({describe_form(FORM)}), found one on {run.dataset['name']} "
                f"({describe_form(form)}); --run chooses another"
            )
        if run.dataset["name"] != "mnist":
            note(
                f"{run.folder} was trained on {run.dataset['name']}, not on MNIST, so its answers "
                "are about classes of that"
            )
    return found
