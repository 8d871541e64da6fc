"""Files, also those of other people: read and written with care."""

from keras_ncsn.files.links import check_no_links as check_no_links
from keras_ncsn.files.regular import open_regular as open_regular
from keras_ncsn.files.regular import open_to_append as open_to_append
from keras_ncsn.files.regular import read_regular as read_regular
from keras_ncsn.files.whole import hidden_name as hidden_name
from keras_ncsn.files.whole import hidden_pattern as hidden_pattern
from keras_ncsn.files.whole import leftovers as leftovers
from keras_ncsn.files.whole import open_whole as open_whole
from keras_ncsn.files.whole import remove_leftovers as remove_leftovers
