"""The training store: a dataset written once more, shuffled and laid out so that a batch is a gather from memory."""
