"""Figures: seaborn and matplotlib for files, plotly (`plots.interactive`) for looking. They draw and compute nothing.

Data come first, the rest by keyword; `ax=None` draws on new axes; axes (or the figure of several) are returned.
"""

from mer_kit.plots.corpora import ceilings, class_counts, durations, fold_map, scores, transitions, utterance
from mer_kit.plots.keywords import keyword_bars, keyword_overlap
from mer_kit.plots.style import save, theme
from mer_kit.plots.training import heatmap, history

__all__ = ["ceilings", "class_counts", "durations", "fold_map", "heatmap", "history", "keyword_bars", "keyword_overlap",
           "save", "scores", "theme", "transitions", "utterance"]
