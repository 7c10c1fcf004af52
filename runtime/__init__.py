"""Running a graph: the loop, the record of a run, checkpoints, evaluation, what a terminal shows.

Nothing of networks, flags or commands, which this does not import.
"""
