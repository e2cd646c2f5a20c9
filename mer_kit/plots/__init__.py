"""Figures: seaborn and matplotlib for files, plotly (`plots.interactive`) for looking. They draw and compute nothing.

Data come first, the rest by keyword; `ax=None` draws on new axes; axes (or the figure of several) are returned.
"""

from mer_kit.plots.attention import attention_in_time, joint_maps, label_attention_maps, token_frame_map
from mer_kit.plots.board import ablations, published_and_here, systems
from mer_kit.plots.corpora import ceilings, class_counts, durations, fold_map, scores, transitions, utterance
from mer_kit.plots.diagrams import apc_diagram, jfm_diagram, lemer_diagram, lsgmer_diagram
from mer_kit.plots.embeddings import embedding, gates, label_paths
from mer_kit.plots.keywords import keyword_bars, keyword_overlap
from mer_kit.plots.studies import by_level, costs, curve, grounding, study
from mer_kit.plots.style import save, theme
from mer_kit.plots.tonal import key_code_rates, key_frames, shares_by_top_k, shares_in_cue
from mer_kit.plots.training import heatmap, history

__all__ = ["ablations", "apc_diagram", "attention_in_time", "by_level", "ceilings", "class_counts", "costs", "curve",
           "durations", "embedding", "fold_map", "gates", "grounding", "heatmap", "history", "jfm_diagram",
           "joint_maps", "key_code_rates", "key_frames", "keyword_bars", "keyword_overlap", "label_attention_maps",
           "label_paths", "lemer_diagram", "lsgmer_diagram", "published_and_here", "save", "scores", "shares_by_top_k",
           "shares_in_cue", "study", "systems", "theme", "token_frame_map", "transitions", "utterance"]
