"""Single transformer layers: states (batch, length, dim) -> states, and what they attended to.

Taken with their weights from a BERT- or ViT-type model of the Hugging Face hub, or small ones with random weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mer_kit.batch import Padded
from mer_kit.encoders.hub import load_model
from mer_kit.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KINDS = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "vit")  # `model_type` of configs
OFFLINE = "layers drawn at random (small_language and small_vision)"


class Layer(nn.Module):
    """One layer of a BERT- or ViT-type model: self-attention and feed-forward, with whatever norms it has.

    forward: states, 0 at padding, and attention (batch, length, length), a mean over heads: each row asks, and gives
    no weight to padding.
    """

    def __init__(self, layer: nn.Module, dim: int) -> None:
        super().__init__()
        self.layer, self.dim = layer, dim

    def forward(self, x: Padded) -> tuple[Padded, Tensor]:
        bias = torch.zeros_like(x.mask, dtype=x.values.dtype).masked_fill(~x.mask, torch.finfo(x.values.dtype).min)
        asking = next(module for module in self.layer.modules() if hasattr(module, "scaling"))
        seen: list[Tensor] = []
        hook = asking.register_forward_hook(lambda module, given, said: seen.append(said[1]))
        try:
            values = self.layer(x.values, attention_mask=bias[:, None, None])
        finally:
            hook.remove()
        return Padded(values * x.mask[..., None], x.mask), seen[0].mean(dim=1)


def layers_of(model: PreTrainedModel, count: int | None = None) -> nn.ModuleList:
    """The first `count` layers of a model, all where None; they share the model's weights.

    Raises BadInput where it has fewer, or is none of KINDS.
    """
    kind = model.config.model_type
    if kind not in KINDS:
        raise BadInput(f"the layers of a {type(model).__name__} are of the kind {kind!r}; expected one of: "
                       f"{', '.join(KINDS)}, such as bert-base-uncased or google/vit-base-patch16-224-in21k")
    model.set_attn_implementation("eager")  # the faster ones do not say what they attend to
    layers = next(m for m in model.modules() if isinstance(m, nn.ModuleList)
                  and len(m) == model.config.num_hidden_layers)
    return first(nn.ModuleList(Layer(layer, model.config.hidden_size) for layer in layers), count)


def first(layers: nn.ModuleList, count: int | None) -> nn.ModuleList:
    """The first `count` of them, all where None; BadInput where there are fewer."""
    if count is not None and count > len(layers):
        raise BadInput(f"got {count} blocks for a model of {len(layers)} layers, and each block takes one; expected "
                       f"{len(layers)} or fewer")
    return layers[:count]


def pretrained_language(source: str | Path, count: int | None = None) -> nn.ModuleList:
    """LTrans: the first layers of a BERT-type model, by its Hugging Face id or folder, in float32."""
    return layers_of(load_model(source, OFFLINE, torch.float32), count)


def small_language(count: int, dim: int = 128, heads: int = 4, dropout: float = 0.1, seed: int = 0) -> nn.ModuleList:
    """Layers of a small BERT with random weights, the same for the same seed."""
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=1, hidden_size=dim, num_hidden_layers=count, num_attention_heads=heads,
                        intermediate_size=4 * dim, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return layers_of(BertModel(config, add_pooling_layer=False))
