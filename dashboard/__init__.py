"""What TensorBoard reads of a run: event files, the HParams row, the projector's points, pictures.

    train/        graph, flags, one traced step, curves             board.Board
    validation/   graph, curves, histograms, first-layer filters    board.Board
    test/         curves, mistakes, confusions, hardest pairs       summaries.write_test_outcome
    ./            the HParams row                                   hparams.session
    projector/    the digits as the last hidden layer sees them     projector.write

    pictures draws what these show.

How a run is trained or evaluated does not belong here: `Board` observes it and writes what it sees.
"""
