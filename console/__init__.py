"""The machine and the person at it: errors, progress, signals, the processor, files, Markdown.

Nothing of this project's subject is here, and nothing of the project is imported: any command-line
program could use it.

    commands.py      a command's start and end: flags, one-line errors, exit codes
    errors.py        what a command reports in one line
    progress.py      the progress bar, and notes above it
    interruption.py  Ctrl-C and SIGTERM
    files.py         files that are written either completely or not at all
    importing.py     importing TensorFlow, quietly and without Keras
    processor.py     its name, its cores, and what is fast on it
    markdown.py      tables
"""
