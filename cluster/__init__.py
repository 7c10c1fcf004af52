"""Several workers that train one run in lock step, on TensorFlow's servers and collective ops.

Each worker is a process with a server, a session and a graph of its own. It takes its slice of
every batch; statistics and gradients are summed over all, so every worker takes the same step.
How a single worker trains does not belong here.

    layout.py       who the workers are, from TF_CONFIG or Slurm
    local.py        train.py --workers=N: workers on this machine, out of the reach of others
    joining.py      a process becomes one of the workers, or the only one
    workers.py      the exchange in a session, and what to do when a worker is gone
    lookout.py      whether the others are still there
    collectives.py  the exchange in the graph: gradients, statistics, weights
    follower.py     the training of a worker that is not the chief
"""
