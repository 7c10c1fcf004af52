"""A trained network in the formats that others serve.

formats.py       the formats: names, precisions, what all have in common
graph.py         the network as a graph of constants, from which each format is written
saved_model.py   SavedModel, as TensorFlow Serving expects it
frozen_graph.py  GraphDef with constants
tflite.py        TFLite, in float32 or int8
onnx.py          ONNX
onnx_graphs.py   what tf2onnx leaves to do in its graph
warm_up.py       requests that a server sends to a model before it serves it
runtime.py       a process of its own: an export classifies images, with its format's runtime
verification.py  what an export answers, compared with what evaluate.py does
record.py        the record beside an export
exporting.py     writing an export and verifying it
place.py         its folder: there as a whole, or not at all
table.py         the table that export.py prints
"""
