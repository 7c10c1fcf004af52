"""Exports a trained network to a format that others serve, and checks what it answers there.

python export.py --format=tflite                  the run trained last, for phones
python export.py --format=tflite --precision=int8     a quarter of the size, and the fastest
python export.py --format=onnx --run=cnn-bn       for ONNX Runtime, OpenVINO, and other languages
python export.py --format=saved_model             for TensorFlow Serving, and TensorFlow 1 and 2
python export.py --format=frozen_graph            one file for a session: the fastest in batches
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # where `python -I` does not look
from console import first  # noqa: F401, for what it does when it is imported

# isort: split
import pathlib

import flags
from console import commands, interruption
from console.files import write_json
from console.importing import import_tensorflow
from console.progress import note
from serving import formats, place, table
from storage import finding, run_data

FLAGS = flags.FLAGS
flags.define_export()


def main() -> None:
    """Exports a checkpoint according to the flags."""
    commands.check_json_flag(FLAGS.json)
    formats.FORMATS[FLAGS.format].check(FLAGS.precision)
    run, checkpoint = finding.find_checkpoint(FLAGS.checkpoint_dir, FLAGS.run, FLAGS.checkpoint)
    folded = FLAGS.fold_batch_norm
    folder = place.folder_of(
        FLAGS.output_dir, run.name, FLAGS.format, FLAGS.precision, checkpoint.step, folded=folded
    )
    place.check(folder, overwrite=FLAGS.overwrite)
    dataset = run_data.load([run], "test", FLAGS.dataset, FLAGS.data_dir)
    note(f"exporting {checkpoint} to {folder}")
    import_tensorflow()
    from serving import exporting

    with interruption.raising("nothing was exported"):
        rows, record = exporting.export(
            run, checkpoint, dataset, folder, FLAGS.format, FLAGS.precision, folded=folded
        )
    size = formats.size_of(folder)
    print(table.table(rows))
    print(table.result_line(rows[-1], folder, size, dataset.name))
    if FLAGS.json:
        content = {"export": str(folder), "bytes": size, "results": rows, "record": record}
        write_json(pathlib.Path(FLAGS.json), content)


if __name__ == "__main__":
    commands.run(main, flags.SECTIONS)
