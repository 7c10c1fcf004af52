"""The source of the figures in the docs: speed and accuracy, each measured by one command.

speed.py             training beside PyTorch and Keras; contestants: contestant.py, ours.py,
                     pytorch.py, keras_fit.py, tutorial.py; ceiling.py: the machine's own speed
layer.py             one batch norm layer, each way to compute it
inference.py         with and without folding
processes.py         whole commands: time to start, memory
legacy_keras.py      an old program on legacy Keras and on `bn_compat`
scaling.py           several workers beside PyTorch's; scaling_contestant.py, scaling_ours.py,
                     scaling_torch.py
serving.py           the exports beside their peers; serving_contestant.py, serving_torch.py
accuracy.py          the presets; accuracy_runs.py: their runs, accuracy_report.py: the report
time_to_accuracy.py  how long each preset takes to 99 %
report.py, ratio.py  what the reports have in common
"""

from console import processor

# For everything they compare, and before any of it imports TensorFlow.
processor.use_onednn()
