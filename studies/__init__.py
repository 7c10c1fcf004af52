"""What `compare.py` trains and plots. One module per study: its grid, its training, its report.

A single run needs none of it.

The studies:

    paper.py              the MNIST experiment of the batch-norm paper
    learning_rate.py      how far off the learning rate can be
    initialization.py     how far off the scale of the initial weights can be
    sensitivity.py        what these two have in common
    steps_to_accuracy.py  how many steps and seconds batch norm saves
    depth.py              how deep a network of saturating units can be
    dropout.py            whether batch norm makes dropout unnecessary
    noise.py              what the company in a batch does
    weight_decay.py       what weight decay does with batch norm
    smoothness.py         less shift of inputs, or a smoother loss
    landscape.py          the loss along a step, which that study looks at
    statistics.py         moving averages, exact ones, the batch's own

What they are made of:

    catalogue.py  the studies by name
    cells.py      the grid: a cell for each run
    grid.py       training the cells in parallel
    trials.py     one short training, as an observer that writes rows
    results.py    the rows
    choosing.py   the best setting for each arm
    plots.py      plots
    write_up.py   the report
"""
