"""The loop: the same seed, the same numbers, killed or not; dev alone selects; what breaks says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_training import CLASSES, CONFIG, Batches, Small, same, train

from mer_kit.batch import Batch, ModelOutput
from mer_kit.errors import BadInput, Missing
from mer_kit.evaluation.metrics import scores
from mer_kit.training.config import TrainConfig
from mer_kit.training.fit import fit, predict, seed_all


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others():
    first = train()
    torch.rand(7)  # what others draw in between changes nothing
    same(first, train())
    other = train(config=replace(CONFIG, seed=4))
    assert not np.allclose(first[1].history["loss"], other[1].history["loss"])


def test_dev_alone_chooses_the_epoch_and_its_weights_are_restored():
    model, fitted = train()
    assert fitted.best_epoch == fitted.history["dev_UA"].idxmax() + 1
    assert fitted.oracle == fitted.history["test_UA"].max()
    row = fitted.history.iloc[fitted.best_epoch - 1]
    test = Batches(30, seed=2, shuffle=False)
    pd.testing.assert_frame_equal(predict(model, test, CLASSES), fitted.predictions)
    assert scores(fitted.predictions["truth"], fitted.predictions["predicted"], CLASSES)["UA"] == row["test_UA"]
    without_test = train(test=None)
    pd.testing.assert_frame_equal(without_test[1].history.drop(columns="seconds"),
                                  fitted.history.drop(columns=["seconds", "test_WA", "test_UA", "test_WF1"]))
    assert without_test[1].predictions is None and without_test[1].oracle is None


def scripted(monkeypatch, dev_scores: list[float]) -> list[float]:
    """Let dev score as told, whatever the model says."""
    told = iter(dev_scores)
    monkeypatch.setattr("mer_kit.training.fit.scores", lambda *_: dict.fromkeys(("WA", "UA", "WF1"), next(told)))
    return dev_scores


def test_patience_stops_and_the_earlier_of_equal_epochs_is_restored(monkeypatch):
    scripted(monkeypatch, [0.1, 0.5, 0.5, 0.4, 0.9])
    weights = []
    model, fitted = train(config=replace(CONFIG, patience=2), test=None,
                          on_epoch_end=[lambda model, epoch: weights.append(model.encoder.weight.detach().clone())])
    assert len(fitted.history) == len(weights) == 4 and fitted.best_epoch == 2
    assert torch.equal(model.encoder.weight, weights[1]) and not torch.equal(weights[1], weights[3])


def test_the_last_epoch_needs_no_dev_and_is_not_stopped(monkeypatch):
    config = replace(CONFIG, selection="last epoch", patience=1)
    model, fitted = train(config=config, dev=None, test=None)
    assert fitted.best_epoch == len(fitted.history) == 5
    scripted(monkeypatch, [0.5, 0.1, 0.1, 0.1, 0.1])
    same_model, fitted = train(config=config, test=None)
    assert fitted.best_epoch == 5
    assert torch.equal(model.encoder.weight, same_model.encoder.weight)
    with pytest.raises(BadInput, match="no dev batches for selection='dev'"):
        train(dev=None)


def test_the_loop_equals_plain_torch():
    """Three batches an epoch, two epochs, Adam, warm-up: against the bare statements."""
    config = TrainConfig(epochs=2, rates={"encoder": 0.01, "rest": 0.1}, optimizer="Adam", warmup=4,
                         gradient_clip=None, selection="last epoch")
    torch.manual_seed(0)
    model, plain = Small(dropout=0.0), Small(dropout=0.0)
    plain.load_state_dict(model.state_dict())
    fitted = fit(model, Batches(24), config, CLASSES, device="cpu", progress=False)
    optimizer = torch.optim.Adam([{"params": plain.encoder.parameters(), "lr": 0.01},
                                  {"params": plain.classifier.parameters(), "lr": 0.1}])
    batches, step, losses = Batches(24), 0, []
    for epoch in (1, 2):
        batches.set_epoch(epoch)
        for batch in batches:
            for group, rate in zip(optimizer.param_groups, (0.01, 0.1), strict=True):
                group["lr"] = rate * min(1, (step + 1) / 4)
            optimizer.zero_grad()
            loss = plain(batch).loss
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
    assert all(torch.allclose(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    np.testing.assert_allclose(fitted.history["loss"], [np.mean(losses[:3]), np.mean(losses[3:])], rtol=1e-6)
    assert fitted.history["loss_one"].tolist() == [1, 1] and fitted.history["rate"].tolist() == [0.75, 1]


def test_accumulated_batches_step_as_one_large_one():
    config = TrainConfig(epochs=2, selection="last epoch")
    models = []
    for size, accumulation in ((12, 1), (4, 3)):
        torch.manual_seed(0)
        models.append(Small(dropout=0.0))
        fit(models[-1], Batches(36, size), replace(config, gradient_accumulation=accumulation), CLASSES, device="cpu",
            progress=False)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*(m.parameters() for m in models), strict=True))
    torch.manual_seed(0)
    alone = Small(dropout=0.0)
    fit(alone, Batches(36, 4), config, CLASSES, device="cpu", progress=False)
    assert not torch.allclose(alone.encoder.weight, models[0].encoder.weight, atol=1e-3)


def test_hooks_run_before_dev_is_scored_and_fill_columns():
    def silence(model: Small, epoch: int) -> dict[str, float]:
        with torch.no_grad():
            model.classifier[1].weight.zero_()
            model.classifier[1].bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
        return {"drift": epoch / 10}

    _, fitted = train(on_epoch_end=[silence])
    assert fitted.history["drift"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert fitted.history["dev_UA"].tolist() == [pytest.approx(1 / 3)] * 5


def test_frozen_parts_neither_learn_nor_drop_out():
    seen = []

    class Watched(Small):
        def forward(self, batch: Batch) -> ModelOutput:
            seen.append((self.encoder.training, self.classifier.training))
            return super().forward(batch)

    model = Watched()
    before = model.encoder.requires_grad_(False).weight.clone()
    fit(model, Batches(), replace(CONFIG, epochs=1, selection="last epoch"), CLASSES, device="cpu", progress=False)
    assert torch.equal(model.encoder.weight, before)
    assert set(seen) == {(False, True)} and not model.training


def test_predictions_follow_the_batches():
    seed_all(0)
    model, batches = Small(), Batches(11, 4, shuffle=False)
    table = predict(model, batches, CLASSES)
    assert table.columns.tolist() == ["id", "truth", "predicted", "p_angry", "p_happy", "p_sad"]
    assert table["id"].tolist() == [f"u{i}" for i in range(11)]
    assert table["truth"].tolist() == [CLASSES[c] for c in batches.labels]
    p = table.filter(like="p_").to_numpy()
    expected = torch.cat([model(b).logits for b in batches]).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(p, expected, rtol=1e-6)
    assert table["predicted"].tolist() == [CLASSES[c] for c in expected.argmax(axis=1)]
    unlabelled = [Batch(b.ids, None, b.text) for b in batches]
    assert predict(model, unlabelled, CLASSES)["truth"].isna().all()
    with pytest.raises(BadInput, match="3 logits for 2 classes"):
        predict(model, batches, CLASSES[:2])
    with pytest.raises(BadInput, match="no batch"):
        predict(model, [], CLASSES)


class Broken(Small):
    def forward(self, batch: Batch) -> ModelOutput:
        output = super().forward(batch)
        if batch.labels is not None and "u5" in batch.ids:
            output.loss = output.loss * float("nan")
        return output


def test_a_loss_that_is_no_number_names_the_utterances():
    with pytest.raises(BadInput, match=r"broke in epoch 1 \(loss nan, .*u5.*lower rates"):
        fit(Broken(), Batches(), replace(CONFIG, selection="last epoch"), CLASSES, device="cpu", progress=False)


def test_gradients_that_are_no_numbers_are_named_too():
    class Steep(Small):
        def forward(self, batch: Batch) -> ModelOutput:
            output = super().forward(batch)
            output.loss = output.loss + torch.sqrt(self.encoder.weight[0, 0] * 0).sum()
            return output

    with pytest.raises(BadInput, match=r"norm of the gradients (nan|inf).*u\d+, .*and \d+ more"):
        fit(Steep(), Batches(size=20), replace(CONFIG, selection="last epoch"), CLASSES, device="cpu", progress=False)


def test_batches_that_cannot_train_are_refused():
    last = replace(CONFIG, selection="last epoch", schedule="constant")
    with pytest.raises(BadInput, match="no batch to train on"):
        fit(Small(), [], last, CLASSES, device="cpu", progress=False)
    with pytest.raises(BadInput, match="no loss for utterances u0"):
        fit(Small(), [Batch(b.ids, None, b.text) for b in Batches(shuffle=False)], last, CLASSES, device="cpu",
            progress=False)
    with pytest.raises(BadInput, match="these have no length"):
        fit(Small(), iter([]), replace(last, schedule="linear"), CLASSES, device="cpu", progress=False)


def test_devices():
    with pytest.raises(BadInput, match="unknown device 'gpu'"):
        train(device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(Missing, match="no GPU here"):
            train(device="cuda")


def test_bf16_trains_and_leaves_the_weights_in_float32():
    model, fitted = train(config=replace(CONFIG, precision="bf16"))
    assert model.encoder.weight.dtype == torch.float32
    assert fitted.history["loss"].iloc[-1] < fitted.history["loss"].iloc[0]
    full = train()[1]
    assert not full.history["loss"].equals(fitted.history["loss"])
    np.testing.assert_allclose(full.history["loss"], fitted.history["loss"], rtol=0.05)


def test_the_bar_shows_loss_and_dev_score(capsys):
    train(progress=True)
    said = capsys.readouterr().err
    assert "epoch 5/5" in said and "loss=" in said and "dev=" in said and "25/25" in said
