"""Training: one step of score matching, and what goes into it.

`NCSNModel.fit` looks at the data (`data`) and takes steps (`step`). A step
draws noise levels (`noise_levels`) and computes a loss (`losses`).
"""
