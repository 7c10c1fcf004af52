"""Asks a graph whether its batch norm is right: any TF1 graph, not only those of this project.

python doctor.py --meta_graph=model.ckpt-1000.meta            what a program's Saver exported
python doctor.py --checkpoint=model.ckpt-1000                 with the values; takes that .meta
python doctor.py --saved_model=exported                       a folder with a saved_model.pb
python doctor.py --frozen_graph=frozen.pb --outputs=softmax   a GraphDef
python doctor.py --run=cnn-bn                                 a run of train.py
python doctor.py --meta_graph=model.meta --run_steps=3        asks by running it, too

In a program's own tests: `doctor.check(tf.get_default_graph(), train_ops=[train_op])`.
"""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/")[0])  # where `python -I` does not look
    from console import first  # noqa: F401, for what it does when it is imported

# isort: split
import pathlib
from typing import TYPE_CHECKING

from diagnosis.asking import BatchNormError, check, diagnose
from diagnosis.findings import Finding

if TYPE_CHECKING:
    from diagnosis.examination import Diagnosis
    from storage.checkpoints import Checkpoint
    from storage.run import Run

__all__ = ["BatchNormError", "Finding", "check", "diagnose"]


def main() -> None:
    """Examines the graph that the flags name, and prints what is found."""
    from console import files
    from console.importing import import_tensorflow

    commands.check_json_flag(FLAGS.json)
    graphs = ("run", "meta_graph", "saved_model", "frozen_graph", "checkpoint")
    if not any(FLAGS[name].value for name in graphs):
        raise InputError(f"expected a graph, found none of {', '.join('--' + n for n in graphs)}")
    if FLAGS.data_dir and not FLAGS.run:
        raise InputError("--data_dir goes with --run; from a program, give diagnose() batches")
    for path in (FLAGS.meta_graph, FLAGS.saved_model, FLAGS.frozen_graph):
        if path and not pathlib.Path(path).exists():
            raise InputError(f"{path}: expected a file, found: No such file or directory")
    if FLAGS.run:
        found = finding.find_checkpoint(FLAGS.checkpoint_dir, FLAGS.run, FLAGS.checkpoint)
    # It takes seconds, and what is missing should be reported at once.
    import_tensorflow()
    from diagnosis import asking, report

    if FLAGS.run:
        diagnoses = of_run(*found)
    else:
        graph = asking.graph_of_flags(
            FLAGS.meta_graph, FLAGS.saved_model, FLAGS.frozen_graph, FLAGS.checkpoint
        )
        diagnosis = asking.examine(
            graph,
            _names(FLAGS.train_op),
            _names(FLAGS.outputs),
            FLAGS.checkpoint,
            run_steps=FLAGS.run_steps,
        )
        diagnoses = {"": diagnosis}
    for title, diagnosis in diagnoses.items():
        heading = f"{title}\n{'-' * len(title)}\n" if title else ""
        print(heading + report.as_text(diagnosis, has_colour=sys.stdout.isatty()), flush=True)
    if FLAGS.json:
        files.write_json(pathlib.Path(FLAGS.json), report.as_json(*diagnoses.values()))
    if any(diagnosis.errors for diagnosis in diagnoses.values()):
        sys.exit(1)


def of_run(run: "Run", checkpoint: "Checkpoint") -> "dict[str, Diagnosis]":
    """Examines both graphs of a run, and a checkpoint."""
    import model
    from diagnosis import asking
    from training import evaluator

    network = evaluator.network_of_run(run)
    training = model.training_graph(network, model.recipe_of(run.flags))
    inference = model.inference_graph(network)
    batches = None
    if FLAGS.data_dir:
        images = run_data.load([run], "train", None, FLAGS.data_dir).train.images
        batches = [
            {inference.images.name: images[start : start + 500]}
            for start in range(0, min(len(images), 5000), 500)
        ]
    return {
        f"{run.folder}: training": asking.examine(
            training.graph, [training.train_op], [], run_steps=FLAGS.run_steps
        ),
        f"{checkpoint}: inference": asking.examine(
            inference.graph, None, [inference.logits], str(checkpoint), batches=batches
        ),
    }


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


if __name__ == "__main__":
    import flags
    from console import commands
    from console.errors import InputError
    from storage import finding, run_data

    FLAGS = flags.FLAGS
    flags.define_diagnosis()
    commands.run(main, flags.SECTIONS)
