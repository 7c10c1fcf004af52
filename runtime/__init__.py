"""Running a graph: the loop, the record of a run, its checkpoints, evaluation, and the terminal.

Networks, flags and commands do not belong here and are not imported; files for TensorBoard are
written by `dashboard`.
"""
