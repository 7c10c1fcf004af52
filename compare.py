"""Compares networks: with and without batch normalization, or two runs that there are.

python compare.py cnn-bn cnn-nobn               two runs: flags, accuracies, digits they disagree on
python compare.py --study=learning_rate         how far off the learning rate may be
python compare.py --study=speed                 how many steps and seconds batch norm saves
python compare.py --study=initialization        how far off the initial weights may be
python compare.py --study=dropout               whether batch norm makes dropout unnecessary
python compare.py --study=paper                 the MNIST experiment of the batch-norm paper
python compare.py --study=statistics            which statistics suit inference
python compare.py --study=depth                 how deep a network of sigmoids may be
python compare.py --study=smoothness            why it helps: less shift, or a smoother loss
python compare.py --study=noise                 ghost batches, small batches, renorm
python compare.py --study=weight_decay          what the scale of the weights means

Each study takes less than 15 minutes on two cores; more with --full. If stopped, it resumes where
it was. Two runs classify the same test images, by default those of the data that they were trained
on, so even a small difference of their accuracies may be certain.
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # where `python -I` does not look
from console import first  # noqa: F401, for what it does when it is imported

# isort: split
import functools
import pathlib

import flags
from console import commands, files
from console.errors import InputError
from console.importing import import_tensorflow
from console.progress import Progress, note
from mnist import datasets
from storage import event_files, finding, lock, run_data
from studies import grid, results, write_up

FLAGS = flags.FLAGS
flags.define_comparison()


def main(*names: str) -> None:
    """Compares the two runs of these names or, without names, what a study compares."""
    if not names and not FLAGS.study:
        raise InputError(
            f"--study: expected one of {', '.join(flags.STUDIES)}, or the names of two runs"
        )
    unused, what = (flags.A_STUDY, "two runs") if names else (flags.TWO_RUNS, "a study")
    for flag in flags.SECTIONS[unused]:
        if FLAGS[flag].present:
            raise InputError(f"--{flag}: expected no such flag when comparing {what}, found it")
    if names:
        compare_runs(*names)
    else:
        compare_in_a_study()


def compare_runs(*names: str) -> None:
    """Has two runs classify the test images, and prints how they differ."""
    if len(set(names)) != 2:
        raise InputError(f"expected the names of two runs, found {' and '.join(names)}")
    for name in names:
        if not flags.is_run_name(name):
            raise InputError(
                f"expected the name of a run, which {flags.RUN_NAME_RULE}, found {name}"
            )
    commands.check_json_flag(FLAGS.json)
    found = [finding.find_checkpoint(FLAGS.checkpoint_dir, name, None) for name in names]
    runs = [run for run, _ in found]
    run_data.check_same(*runs)
    dataset, data_dir = (
        FLAGS[flag].value if FLAGS[flag].present else None for flag in ("dataset", "data_dir")
    )
    data = run_data.load(runs, "test", dataset, data_dir)
    import_tensorflow()
    import model
    from training import comparison, evaluator, outcomes

    results, both = [], []
    with Progress(2 * evaluator.batches_of(data.test), 0, "test images") as progress:
        for run, checkpoint in found:
            graph = model.inference_graph(evaluator.network_of_run(run))
            # A run in training may have replaced it while the graph was built.
            checkpoint = finding.find_again(run, checkpoint)
            evaluator.note_mismatches(run, checkpoint, 0)
            with evaluator.Evaluator(graph) as classifier:
                classifier.restore(checkpoint)
                on_batch = functools.partial(progress.advance, run.name)
                outcome = classifier.classify(*data.test, on_batch=on_batch)
            both.append(outcome)
            results.append(outcomes.result(outcome, data.name, "test", checkpoint))
    facts = comparison.compare(runs, results, both)
    print(comparison.report(facts), flush=True)
    if FLAGS.json:
        files.write_json(pathlib.Path(FLAGS.json), facts)


def compare_in_a_study() -> None:
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
    commands.run(main, flags.SECTIONS, most_arguments=2)
