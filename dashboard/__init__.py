"""What TensorBoard reads of a run: event files, the HParams row, the projector's points, pictures.

How a run is trained or evaluated does not belong here: this writes the figures that it is given.
"""
