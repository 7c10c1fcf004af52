"""What TensorBoard shows of a run: event files, the HParams row, the projector's points, pictures.

Nothing here trains or evaluates: this package writes the results that it is given.
"""
