"""Asks a graph whether its batch norm is right.

reading     graphs from files and from memory, without importing them
mending     making a graph that today's TensorFlow refuses one that it runs
view        a graph as nodes and edges, functions and control flow written out
evaluation  what is computed, and from what, once a phase is known
shapes      shapes of tensors, as far as a graph tells
tracing     where per-channel tensors come from: a batch, variables, constants
layers      the batch-norm layers, found by what they compute
roles       train ops, outputs, phases
facts       all of these of one graph, which the rules ask
findings    what a rule says; why it matters and the cure of each
updates     rules 1xx: updates of the statistics
inference   rules 2xx: what outputs depend on
checkpoints rules 3xx: values in a checkpoint
data        rule 303: values against the data
semantics   rules 4xx: what a layer is meant to compute
running     the same questions, answered by running the graph
decays      the weight of the old value in an average, read off its formula
examination all rules in turn
asking      what a program calls: `diagnose`, `check`, `warn`
report      the diagnosis as text and as JSON
"""
