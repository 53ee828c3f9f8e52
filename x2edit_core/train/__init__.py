"""Training, one core behind the script `python -m x2edit_core.train` and the node X2EditTrain.

In the order of the data: `config` says what is trained, on what and how, `start` begins it from an earlier adapter;
`samples` are edits before and after encoding; `batches` decides which of them a step sees; `model` is what a step asks of a
network, `streaming` brings a large one to the device block by block, `aligned` reads texts as X2Edit does; `losses` judges
its prediction; `optim` changes the weights, `parallel` shares them out; `loop` runs it all; `validation` judges it by what it
never sees; `checkpoints` and `journal` keep what has been done.
"""
