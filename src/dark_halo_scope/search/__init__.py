"""Search: which settings train the best model? A space, an Optuna study, workers that share it, what came of it.

Knows nothing of lenses. A worker is one `python train.py -m hparams_search=...`; start as many as there are machines.
"""
