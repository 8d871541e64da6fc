"""Samplers: functions of a score function and a schedule."""

from keras_ncsn.samplers.heun import heun as heun
from keras_ncsn.samplers.langevin import (
    annealed_langevin as annealed_langevin,
)
from keras_ncsn.samplers.langevin import langevin as langevin
