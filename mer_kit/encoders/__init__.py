"""Encoders: what turns tokens or sound into states, as modules with `dim` and `forward(Padded) -> Padded`.

`offline` ones train from scratch in minutes and download nothing; pretrained ones are any fitting Hugging Face id or
folder. What an encoder says of an utterance depends on that utterance alone: neither on padding nor on its neighbours.
"""
