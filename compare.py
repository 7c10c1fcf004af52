"""Trains networks with and without batch normalization side by side, and reports the difference.

python compare.py --study=learning_rate         how far off the learning rate may be
python compare.py --study=speed                 how many steps and seconds batch norm saves
python compare.py --study=initialization        how far off the initial weights may be
python compare.py --study=dropout               whether batch norm makes dropout unnecessary
python compare.py --study=paper                 the MNIST experiment of the batch-norm paper
python compare.py --study=statistics            which statistics suit inference

Each takes less than 15 minutes on two cores; more with --full. If stopped, it resumes where it was.
"""

from console import first  # noqa: F401, for what it does when it is imported

# isort: split
import functools
import pathlib

import flags
from console import commands, files
from console.importing import import_tensorflow
from console.progress import note
from mnist import datasets
from storage import event_files, lock
from studies import grid, results, write_up

FLAGS = flags.FLAGS
flags.define_comparison()


def main() -> None:
    """Trains the missing runs of a study, writes its report, and prints the figures in it."""
    folder = pathlib.Path(FLAGS.results_dir, FLAGS.study + ("-full" if FLAGS.full else ""))
    summaries = folder / "summaries"
    files.make_folder(folder)
    with lock.only_process(folder):
        # Not at the top of the file: it takes seconds, and wrong input should be reported at once.
        import_tensorflow()
        from studies.catalogue import STUDIES

        study = STUDIES[FLAGS.study]
        cells = study.cells(FLAGS.full)
        table = results.Results(folder / results.FILE)
        if all(table.of(cell) for cell in cells):
            write_up.check(folder, cells, FLAGS.dataset)
            note(f"all {len(cells)} runs are in {folder / results.FILE}: nothing to train")
        else:
            is_named = FLAGS["data_dir"].present > 0
            dataset = datasets.load(FLAGS.dataset, FLAGS.data_dir, is_named=is_named)
            command = f"python compare.py --study={FLAGS.study}{' --full' * FLAGS.full}"
            facts = write_up.begin(folder, command, cells, dataset.description())
            kind = "synthetic" if dataset.name == "synthetic" else "mnist"
            load = functools.partial(datasets.load, kind, FLAGS.data_dir)
            with write_up.on_the_clock(folder, facts):
                grid.train_missing(cells, table, study.train, load, summaries)
        report, figures = write_up.write(folder, study, table.rows)
    print(f"{figures}\n\n{report}", flush=True)
    # The results that ship with the project come without curves.
    if summaries.exists():
        curves = event_files.address(summaries, few=f"seed={cells[0].varied['seed']}/")
        note(f"to see the curves: {commands.tensorboard(summaries)}, then {curves}")


if __name__ == "__main__":
    commands.run(main, flags.SECTIONS)
