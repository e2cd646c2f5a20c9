"""mer_kit: label-guided fusion of speech and text for emotion recognition, taught and measured."""

__version__ = "0.1.0"
