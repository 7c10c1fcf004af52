"""Running a graph: the loop, the record of a run, its checkpoints, evaluation, and the terminal.

Networks, flags and commands live elsewhere and are never imported here; `dashboard` writes
TensorBoard's files.
"""
