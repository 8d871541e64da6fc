"""Training by score matching.

`NCSNModel.fit` checks the data (`data`) and takes steps (`step`). A step draws
noise levels (`noise_levels`) and computes a loss (`losses`). `validation`
computes the loss on held-out images.
"""
