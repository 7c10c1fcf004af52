"""Training and evaluating a network: one loop, and what every training or evaluation needs.

The loop knows observers, not who observes: TensorBoard's files are `dashboard`'s, other workers
`cluster`'s, rows of results those of `studies`.

    loop.py         takes the steps, stops, diverges, goes back, and tells observers
    observer.py     what observers are told
    plan.py         when a training is saved and evaluated
    keeper.py       where its weights come from, and where they are kept
    weights.py      the weights themselves, in a session
    curve.py        the point of the training curve in the making, and the clock
    evaluation.py   an observer: records what a run reaches on validation and test images
    reporting.py    an observer: the progress bar
    advice.py       what a user should know before a training begins
    worker.py       what a worker is: a training that is alone has one
    evaluator.py    an inference graph with a session
    outcomes.py     what a network says of a split's images, and how good it is
    comparison.py   two runs on the same images: flags, accuracies, digits they disagree on
    paired.py       the statistics of that: the difference, its interval, McNemar's test
"""
