"""Says which digit is on a picture: a scan, a photo, a drawing of any size and colour.

python predict.py my_digit.png                    with the run trained last
python predict.py photos/ --csv=digits.csv        all pictures in a folder
python predict.py --run=best0,best1 3.jpg 4.jpg   several runs together
python predict.py --many number.png               several digits side by side
python predict.py my_digit.png --show=seen.png    what the network saw, beside the picture
cat my_digit.png | python predict.py -
python predict.py --page                          a page to draw on, in a browser

Networks trained with distortions, as by --flagfile=presets/accurate.flags, read people's own digits
best, and doubt most what is none.
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # where `python -I` does not look
from console import first  # noqa: F401, for what it does when it is imported

# isort: split
import contextlib
import pathlib

import flags
from console import commands, files
from console.errors import CommandError, InputError
from console.importing import import_tensorflow
from console.progress import Progress, doing, note
from prediction import answers, members, preparation, reading, sheet, sources
from training import outcomes

FLAGS = flags.FLAGS
flags.define_prediction()

# With fewer pictures, a progress bar is a nuisance.
MANY = 20


def main(*arguments: str) -> None:
    """Answers for each picture, and writes what the flags ask for."""
    for name in ("json", "csv", "show"):
        commands.check_output_flag(name, FLAGS[name].value)
    if FLAGS.page:
        show_page(*arguments)
        return
    if not arguments:
        example = commands.line("predict.py", "my_digit.png")
        raise InputError(f"expected pictures, found none; for example: {example}")
    found = members.find(FLAGS.checkpoint_dir, FLAGS.run, FLAGS.checkpoint)
    pictures = sources.sources_of(arguments)
    said: list[answers.Answer] = []
    unreadable: list[reading.Read] = []
    shown: list[sheet.Shown] = []
    with contextlib.ExitStack() as stack:
        progress = None
        if len(pictures) > MANY:
            progress = stack.enter_context(Progress(len(pictures), 0, "reading", "picture"))

        def load() -> reading.Classify:
            import_tensorflow()
            from prediction.classifier import Classifier

            with doing("building the graphs"):
                return stack.enter_context(Classifier(found)).probabilities

        for one, answer in reading.read_all(
            pictures,
            load,
            FLAGS.min_probability,
            thumbnails=sheet.MOST if FLAGS.show else 0,
            on_picture=progress.advance if progress else lambda name: None,
        ):
            if answer is None or one.prepared is None:
                note(f"{one.file}: can't be read: {one.problem}")
                unreadable.append(one)
                continue
            line = answers.line(answer, FLAGS.many)
            print(line, flush=True)
            said.append(answer)
            if one.thumbnail:
                shown.append(sheet.Shown(one.thumbnail, one.prepared.images, line))
    write(said, unreadable, shown, [outcomes.about(run) for run, _ in found])
    advise(said)
    if unreadable:
        raise CommandError(f"{len(unreadable)} of {len(pictures)} can't be read")


def show_page(*arguments: str) -> None:
    """Serves the page to draw on, until Ctrl-C."""
    if arguments:
        raise InputError(f"--page: expected no pictures beside it, found {arguments[0]}")
    ((run, checkpoint),) = members.find(FLAGS.checkpoint_dir, FLAGS.run, FLAGS.checkpoint)
    import_tensorflow()
    from prediction import page

    page.show(run, checkpoint, FLAGS.port or 0)


def write(said: list, unreadable: list, shown: list, runs: list) -> None:
    """Writes the files that flags ask for."""
    if FLAGS.json:
        content = {
            "pictures": [answers.facts(answer) for answer in said],
            "unreadable": [{"file": one.file, "why": one.problem} for one in unreadable],
            "runs": runs,
        }
        files.write_json(pathlib.Path(FLAGS.json), content)
    if FLAGS.csv:
        files.write_text(pathlib.Path(FLAGS.csv), answers.as_csv(said))
    if FLAGS.show and shown:
        sheet.write(FLAGS.show, shown)


def advise(said: list) -> None:
    """Notes what to try next, where something is left open."""
    found = {answer.found for answer in said}
    if preparation.SEVERAL in found and not FLAGS.many:
        note("--many reads several digits from left to right")
    if found & {answers.UNSURE, preparation.NONE} and not FLAGS.show:
        note("--show=seen.png shows what the network saw")


if __name__ == "__main__":
    commands.run(main, flags.SECTIONS, most_arguments=sys.maxsize)
