"""The machine and the person at it: errors, progress, signals, the processor, files, Markdown.

Nothing else of the project is imported, and nothing here knows a network or a data set.

    first.py         the first import of every command: what happens while others are imported
    commands.py      a command's start and end: flags, one-line errors, exit codes
    errors.py        what a command reports in one line
    streams.py       standard output and error that end nothing when they can't be written
    progress.py      the progress bar, and notes above it
    interruption.py  Ctrl-C and SIGTERM
    files.py         files that are written either completely or not at all
    importing.py     importing TensorFlow, quietly and without Keras
    processor.py     its name, its cores, and what is fast on it
    markdown.py      tables
"""
