"""A run's folder: the record, the checkpoints, the lock beside it, the names of event files.

Nothing here trains or evaluates.

    run.py          a run: its folder, and the record that describes the checkpoints in it
    records.py      the record's fields, and how a file is checked
    checkpoints.py  a checkpoint's files and checksums
    variables.py    the values in a checkpoint
    opening.py      a run to train: a new one, one to resume, one to replace
    finding.py      a run to evaluate, and its checkpoint
    run_data.py     the data to evaluate a run on
    overview.py     the runs that there are
    lock.py         one process per run
    event_files.py  what TensorBoard's files are called
"""
