"""The feature store: whole or absent after any kill, sound beside other writers, and never a wrong byte."""

from __future__ import annotations

import builtins
import errno
import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load

from mer_kit.errors import BadInput, Missing
from mer_kit.features import store as module
from mer_kit.features.store import FeatureStore, MemoryStore, digest, weights_hash

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are killed by fork and SIGKILL")
TENSORS = {"states": torch.arange(6.0).reshape(2, 3), "mask": torch.tensor([True, False])}
KEY = "k" * 64
STEPS = ("open", "write 0", "write half", "write all", "before replace", "after replace")


class Careless(FeatureStore):
    """What the kit's writer must not be: it writes under the final name."""

    def _write(self, path, raw):
        with module.open(path, "wb") as file:
            file.write(raw)
        os.replace(path, path)


class Same:
    def __init__(self, tensors):
        self.tensors = tensors

    def __eq__(self, other):
        return other is not None and self.tensors.keys() == other.keys() and all(
            t.equal(other[n]) and t.dtype == other[n].dtype for n, t in self.tensors.items())


def in_child(work) -> int:
    """Exit code of a forked process that does `work`; minus the signal where it was killed."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(20)
    return child.exitcode


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def put_and_die(store: FeatureStore, step: str) -> None:
    """Put TENSORS, and be killed at a step of the way."""
    if step == "open":
        module.open = lambda *a: die()
    elif step.startswith("write"):
        module.open = lambda path, mode: Dying(path, step)
    else:
        replace = os.replace
        os.replace = lambda a, b: (replace(a, b) if step == "after replace" else None, die())
    store.put(KEY, TENSORS)


class Dying:
    """A file that takes part of what is written to it, and no more."""

    def __init__(self, path, step):
        self.file, self.step = os.open(path, os.O_WRONLY | os.O_CREAT), step

    def __enter__(self):
        return self

    def __exit__(self, *why):
        os.close(self.file)

    def write(self, raw):
        os.write(self.file, raw[: {"write 0": 0, "write half": len(raw) // 2, "write all": len(raw)}[self.step]])
        die()


def whole_or_absent(folder, kind=FeatureStore) -> bool:
    """Is every file with a feature's name whole, and does the next process get on with the work?"""
    reader = kind(folder)
    kept = reader.get(KEY)
    sound = reader.counts["damaged"] == 0 and (kept is None or Same(TENSORS) == kept)
    return sound and Same(TENSORS) == FeatureStore(folder).fetch(KEY, lambda: TENSORS)


@pytest.fixture(autouse=True)
def a_patchable_open(monkeypatch):
    monkeypatch.setattr(module, "open", builtins.open, raising=False)


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_a_feature_whole_or_absent(step, tmp_path):
    assert in_child(lambda: put_and_die(FeatureStore(tmp_path), step)) == -signal.SIGKILL
    assert FeatureStore(tmp_path).path(KEY).exists() == (step == "after replace")
    assert whole_or_absent(tmp_path)


def test_the_same_kills_catch_a_writer_that_is_not_atomic(tmp_path):
    caught = []
    for step in STEPS:
        folder = tmp_path / step.replace(" ", "-")
        assert in_child(lambda folder=folder, step=step: put_and_die(Careless(folder), step)) == -signal.SIGKILL
        if not whole_or_absent(folder, Careless):
            caught.append(step)
    assert caught == ["write 0", "write half"]


def test_what_is_put_is_got_and_read_by_the_library_alone(tmp_path):
    store = FeatureStore(tmp_path / "new" / "folder")
    given = {"half": torch.ones(3, dtype=torch.bfloat16), "ids": torch.tensor(7), "none": torch.zeros(0, 4),
             "strided": torch.arange(6).reshape(2, 3).T, **TENSORS}
    assert store.get(KEY) is None
    store.put(KEY, given)
    assert Same(given) == store.get(KEY) and Same(given) == load(store.path(KEY).read_bytes())
    assert [p.name for p in store.folder.iterdir()] == [f"{KEY}.safetensors"]
    store.put(KEY, TENSORS)
    assert Same(TENSORS) == store.get(KEY)
    with pytest.raises(BadInput, match="nothing to store"):
        store.put(KEY, {})


def test_every_changed_byte_and_every_cut_is_noticed(tmp_path):
    store = FeatureStore(tmp_path)
    store.put(KEY, TENSORS)
    path, whole = store.path(KEY), store.path(KEY).read_bytes()
    damaged = [whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :]
               for i in range(len(whole)) for flip in (1, 32, 255)]
    damaged += [whole[:i] for i in range(len(whole))] + [whole + b"\0", b"", b"\x80\x04N."]
    for raw in damaged:
        path.write_bytes(raw)
        assert store.get(KEY) is None and not path.exists()
    assert store.counts["damaged"] == len(damaged)
    path.write_bytes(whole)
    assert Same(TENSORS) == store.get(KEY)
    other = "o" * 64
    os.rename(path, store.path(other))  # a sound file under another's name
    assert store.get(other) is None


def test_a_damaged_feature_is_computed_again(tmp_path):
    store = FeatureStore(tmp_path)
    for expected in ({"computed": 1}, {"computed": 1, "read": 1}):
        assert Same(TENSORS) == store.fetch(KEY, lambda: TENSORS)
        assert dict(store.counts) == expected
    raw = bytearray(store.path(KEY).read_bytes())
    raw[-1] ^= 1
    store.path(KEY).write_bytes(raw)
    assert Same(TENSORS) == store.fetch(KEY, lambda: TENSORS)
    assert store.counts == {"computed": 2, "read": 1, "damaged": 1}
    assert Same(TENSORS) == store.fetch(KEY, lambda: pytest.fail("computed though it was there"))


def test_as_much_stays_in_memory_as_was_said_and_the_rest_is_read_anew(tmp_path):
    given = {name: {"x": torch.full((25,), float(i))} for i, name in enumerate("abc")}  # 100 bytes each
    store = FeatureStore(tmp_path, memory=250)
    for name, tensors in given.items():
        store.put(name, tensors)
    for name in given:
        store.path(name).unlink()
    assert [name for name in given if Same(given[name]) == store.get(name)] == ["a", "b"]
    for _ in range(3):  # put again, what was there before makes room
        store.put("b", given["c"])
    store.put("c", given["c"])
    assert Same(given["c"]) == store.get("b") and Same(given["c"]) == store.get("c")
    store.path("b").unlink()
    store.path("c").unlink()
    assert Same(given["c"]) == store.get("b") and store.get("c") is None and Same(given["a"]) == store.get("a")
    store = FeatureStore(tmp_path, memory=150)
    FeatureStore(tmp_path).put("d", given["b"])
    assert store.get("d") is store.get("d")  # what was read stays too


def test_two_processes_may_fill_the_same_store_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    together = context.Barrier(2)

    def fill():
        store = FeatureStore(tmp_path)
        together.wait()
        for _ in range(5):
            for i in range(30):
                store.put(str(i), {"x": torch.full((500,), float(i))})
                for j in (i, (i + 7) % 30):
                    kept = store.get(str(j))
                    assert kept is None or kept["x"].equal(torch.full((500,), float(j)))
        assert store.counts["damaged"] == 0

    children = [context.Process(target=fill) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    assert [c.exitcode for c in children] == [0, 0]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"{i}.safetensors" for i in range(30))


def test_threads_may_write_the_same_feature_at_once(tmp_path):
    store = FeatureStore(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: store.put(KEY, TENSORS), range(200)))
    assert Same(TENSORS) == store.get(KEY) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("step", ["write", "replace"])
def test_a_full_disk_is_said_and_leaves_nothing(step, tmp_path, monkeypatch):
    def full(*a):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "write":
        monkeypatch.setattr(Dying, "write", lambda self, raw: (os.write(self.file, raw[:50]), full()))
        monkeypatch.setattr(module, "open", lambda path, mode: Dying(path, ""))
    else:
        monkeypatch.setattr(os, step, full)
    store = FeatureStore(tmp_path)
    with pytest.raises(Missing, match=r"cannot be written to \(No space left on device\); free some space"):
        store.fetch(KEY, lambda: TENSORS)
    monkeypatch.undo()
    assert not list(tmp_path.iterdir()) and store.get(KEY) is None


def test_keys_tell_everything_apart_that_may_differ():
    bytes_and_text = MemoryStore.key(audio=b"ab"), MemoryStore.key(audio="ab")
    tensors = [torch.zeros(4), torch.zeros(2, 2), torch.zeros(4, dtype=torch.int32), torch.ones(4), torch.zeros(5)]
    plain = [{"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 1}, {"a": "1"}, {"a": 1.0}, {"a": True}, {"a": None}, {"a": [1]}]
    keys = [*bytes_and_text, *(MemoryStore.key(x=t) for t in tensors), *(MemoryStore.key(**p) for p in plain)]
    assert len(set(keys)) == len(keys) and all(len(k) == 64 for k in keys)
    assert MemoryStore.key(a=1, b="ü") == MemoryStore.key(b="ü", a=1)
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # SHA-256's own example
    assert digest(torch.tensor([1.5])) == digest(b"torch.float32 (1,) " + np.float32(1.5).tobytes())


def test_the_hash_of_weights_sees_weights_buffers_and_layers():
    torch.manual_seed(0)
    one = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    first = weights_hash(one)
    assert weights_hash(one.train()) == weights_hash(one.eval()) == first and len(first) == 32
    one[1].running_mean[0] = 1
    second = weights_hash(one)
    one[0].weight.data[0, 0] += 1
    third = weights_hash(one)
    assert len({first, second, third, weights_hash(torch.nn.Sequential(*one, torch.nn.ReLU()))}) == 4


def test_memory_keeps_what_it_was_given():
    store = MemoryStore()
    assert store.get("a") is None
    assert store.fetch("a", lambda: TENSORS) is TENSORS and store.fetch("a", dict) is TENSORS
    assert store.counts == {"computed": 1, "read": 1}
