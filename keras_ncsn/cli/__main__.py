"""python -m keras_ncsn.cli: the command line."""

from keras_ncsn.cli import main

main()
