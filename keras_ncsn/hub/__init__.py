"""The Hugging Face Hub: presets come from there, and go there.

`huggingface_hub` does the work, and is imported when it is needed. Around it:
one sentence for each way it can fail, and an end to waiting for a server that
says nothing.
"""

# What its requests say that they are of.
LIBRARY = "keras-ncsn"
