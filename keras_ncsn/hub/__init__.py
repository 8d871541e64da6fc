"""The Hugging Face Hub: downloads and uploads of presets.

`huggingface_hub` does the work, and is imported when it is needed. This package
adds one sentence for each way it can fail, a time limit for a silent server,
and checks of what the server sends.
"""

# The name of this library in its requests.
LIBRARY = "keras-ncsn"
