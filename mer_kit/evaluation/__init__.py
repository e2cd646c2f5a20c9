"""Evaluation: scores of predictions, and how sure one may be of them."""

from mer_kit.evaluation.metrics import confusion, recalls, scores, scores_by_novelty

__all__ = ["confusion", "recalls", "scores", "scores_by_novelty"]
