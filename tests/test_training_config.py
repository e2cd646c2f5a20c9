"""Training configs: every parameter has one rate, rates rise and fall, what cannot be meant is refused."""

from __future__ import annotations

import numpy as np
import pytest
from small_training import Small

from mer_kit.errors import BadInput
from mer_kit.training.config import TrainConfig, make_optimizer, rate_factor


def test_every_rate_belongs_to_a_part():
    model = Small()
    groups = make_optimizer(model, TrainConfig(rates={"classifier.1.bias": 0.3, "classifier": 0.2, "rest": 0.1}))
    sizes = {g["rate"]: sum(p.numel() for p in g["params"]) for g in groups.param_groups}
    assert sizes == {0.3: 3, 0.2: 24, 0.1: 96}
    model.encoder.requires_grad_(False)
    frozen = make_optimizer(model, TrainConfig(rates={"encoder": 0.5, "rest": 0.1}))
    assert [g["rate"] for g in frozen.param_groups] == [0.1]
    with pytest.raises(BadInput, match=r"unknown part of the model in rates 'encodr'.*did you mean 'encoder'"):
        make_optimizer(model, TrainConfig(rates={"encodr": 0.1, "rest": 0.1}))
    with pytest.raises(BadInput, match=r"'classifier.1.weight' has no learning rate; add 'rest'"):
        make_optimizer(model, TrainConfig(rates={"encoder": 0.1}))
    with pytest.raises(BadInput, match="every parameter of the model is frozen"):
        make_optimizer(model.requires_grad_(False), TrainConfig())


def test_biases_and_norms_do_not_decay():
    model = Small()
    groups = make_optimizer(model, TrainConfig(rates={"rest": 0.1}, weight_decay=0.01)).param_groups
    decayed = {name for group in groups for name, p in model.named_parameters()
               if group["weight_decay"] == 0.01 and any(p is q for q in group["params"])}
    assert decayed == {name for name, p in model.named_parameters() if name.endswith("weight") and p.ndim == 2}
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_rates_rise_and_fall():
    linear = TrainConfig(warmup=4, schedule="linear")
    np.testing.assert_allclose([rate_factor(linear, s, 8) for s in range(9)],
                               [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25, 0])
    share = TrainConfig(warmup=0.5, schedule="cosine")
    np.testing.assert_allclose([rate_factor(share, s, 8) for s in (0, 3, 4, 6, 8)], [0.25, 1, 1, 0.5, 0], atol=1e-12)
    assert [rate_factor(TrainConfig(warmup=2), s, None) for s in (0, 1, 99)] == [0.5, 1, 1]


@pytest.mark.parametrize(("wrong", "words"), [
    ({"metric": "wa"}, "unknown metric 'wa'"), ({"schedule": "linaer"}, "did you mean 'linear'"),
    ({"precision": "fp16"}, "expected one of: no, bf16"), ({"selection": "test"}, "unknown selection"),
    ({"optimizer": "SGD"}, "expected one of: Adam, AdamW"), ({"epochs": 0}, "epochs=0"),
    ({"patience": 0}, "patience=0"), ({"rates": {"rest": 0}}, "learning rates")])
def test_configs_that_cannot_be_meant_are_refused(wrong, words):
    with pytest.raises(BadInput, match=words):
        TrainConfig(**wrong)
