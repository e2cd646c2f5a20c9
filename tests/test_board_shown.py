"""How the board is shown: its figures by their data, and the lists by which it is looked up."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from small_board import keep_some

from mer_kit import plots
from mer_kit.batch_runs import NOTEBOOKS, plan, run_notebook
from mer_kit.errors import BadInput
from mer_kit.plots.studies import HERE
from mer_kit.training import board, comparison
from mer_kit.widgets import Lookup


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return keep_some(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def rows(results):
    return board.board(results)


def test_a_lookup_widget_narrows_by_each_list_and_shows_its_rows_in_reports(rows):
    table = pd.DataFrame({"paper": ["A", "A", "B"], "table": ["1", "2", "1"], "x": [1.0, np.nan, np.nan],
                          "said": ["", "", "<b>q"]})
    found = Lookup(table, by=["paper", "table"], chosen={"paper": "A"})
    assert list(found.rows["table"]) == ["1", "2"] and "said" not in found.rows, "an empty column is left out"
    found.by["table"].value = "2"
    assert found.rows.to_dict("records") == [{"paper": "A", "table": "2"}]
    found.by["paper"].value = "B"
    assert found.by["table"].options == ("all", "1") and len(found.rows) == 1
    kept = Lookup(table, by=["paper", "table"], chosen={"paper": "A", "table": "1"})
    kept.by["paper"].value = "B"
    assert kept.by["table"].value == "1", "what is chosen stays where it still stands there"
    page = found._repr_mimebundle_()["text/html"]
    assert "&lt;b&gt;q" in page and page == found.page.value
    with pytest.raises(BadInput, match="unknown table '2'; expected one of: all, 1"):
        Lookup(table, by=["paper", "table"], chosen={"paper": "B", "table": "2"})
    assert len(Lookup(board.lookup(rows), by=["paper", "table"]).rows) == len(board.lookup(rows))


@pytest.fixture
def closed():
    yield
    plt.close("all")


def points(ax, number: int) -> np.ndarray:
    """(x, y) of each mark of a scatter."""
    return np.ma.filled(ax.collections[number].get_offsets(), np.nan)


def test_published_and_here_are_drawn_apart_in_their_colours(rows, closed):
    chosen = rows[rows["here"].notna() & rows["metric"].isin(["WA", "Acc change"]) & (rows["dataset"] != "MELD-7")]
    figure = plots.published_and_here(chosen, title="t")
    left, right = figure.axes
    levels = chosen[chosen["metric"] == "WA"]
    np.testing.assert_allclose(points(left, 0)[:, 0], levels["published"])
    np.testing.assert_allclose(points(left, 2)[:, 0], levels["here"])
    np.testing.assert_allclose(points(right, 0)[:, 0], chosen["published_change"])
    np.testing.assert_allclose(points(right, 2)[:, 0], chosen["change"])
    assert to_hex(left.collections[0].get_facecolor()[0]) != to_hex(left.collections[2].get_facecolor()[0])
    sure = ((chosen["change_low"] > 0) | (chosen["change_high"] < 0)).tolist()
    assert [to_hex(c).upper() == HERE for c in right.collections[2].get_facecolors()] == sure
    assert [t.get_text() for t in left.get_yticklabels()] == list(chosen["system"])
    assert [t.get_text() for t in left.texts] == [f"{p}, {t}" for p, t in dict.fromkeys(
        zip(chosen["paper"], chosen["table"], strict=True))]


def test_the_matrix_of_pairs_is_its_own_mirror(results, closed):
    said = comparison.systems(results)
    levels, pairs = comparison.levels(said), comparison.pairs(said)
    left, right = plots.systems(levels, pairs, metric="UA").axes
    np.testing.assert_allclose(points(left, 1)[:, 0], 100 * levels.loc[levels["metric"] == "UA", "mean"])
    written = [text.get_text() for text in right.texts]
    of = pairs[pairs["metric"] == "UA"].set_index(["a", "b"])
    first, second, third = (f"{100 * d:+.1f}" for d in of["difference"])
    turned = [f"{-100 * d:+.1f}" for d in of["difference"]]
    assert written == [first, second, turned[0], third, turned[1], turned[2]]
    bold = [text.get_fontweight() == "bold" for text in right.texts]
    sure = (of["p_holm"] < 0.05).tolist()
    assert bold == [sure[0], sure[1], sure[0], sure[2], sure[1], sure[2]]
    lucky = plots.systems(levels, pairs.assign(p=0.03, p_holm=0.09), metric="UA").axes[1]
    assert {text.get_fontweight() for text in lucky.texts} == {"normal"}
    alone = {"LE-MER": said["LE-MER"]}
    assert not plots.systems(comparison.levels(alone), comparison.pairs(alone)).axes[1].texts


def test_ablations_are_drawn_on_one_page_with_their_numbers(rows, closed):
    lines = board.ablations(rows)
    [ax] = plots.ablations(lines, title="t").axes
    np.testing.assert_allclose(points(ax, 0)[:, 0], lines["MELD"])
    np.testing.assert_allclose(points(ax, 1)[:, 0], lines["IEMOCAP"])
    np.testing.assert_allclose(points(ax, 3)[:, 0], lines["change"])
    assert ax.collections[0].get_edgecolor().tolist() == ax.collections[1].get_edgecolor().tolist()
    sure = (lines["p_holm"] < 0.05).tolist()
    assert any(sure) and [to_hex(c).upper() == HERE for c in ax.collections[3].get_facecolors()] == sure
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names.count("JFM (text)") == names.count("JFM (audio)") == 1 and "w/o ICL" in names
    headings, numbers = ([t.get_text() for t in ax.texts if (t.xy[0] == 0) == left] for left in (True, False))
    assert headings == ["LE-MER, Table 1", "LE-MER, Table 2", "LE-MER, Table 3", "LSGMER, Table III", "JFM, Table 1",
                        "JFM, Table 2", "JFM, Table 3"]
    row = lines[lines["system"] == "w/o ICL"].iloc[0]
    assert numbers[row.name] == (f"{row['change']:+.1f} ({row['change_low']:+.1f} to {row['change_high']:+.1f}), "
                                 f"p {row['p']:.2g}")
    assert numbers.count("not run here") == lines["change"].isna().sum()
    left, right = ax.get_xlim()
    drawn = lines[["IEMOCAP", "MELD", "change_low", "change_high"]].stack().dropna()
    assert left < drawn.min() and drawn.max() < right, "no mark lies off the page"
    assert [float(t.get_text()) for t in ax.get_xticklabels()] == ax.get_xticks().tolist()


@pytest.mark.slow
def test_the_notebook_says_what_to_run_where_nothing_is_recorded(tmp_path):
    notebook = NOTEBOOKS / "11_results_board.ipynb"
    given = {"RESULTS": str(tmp_path / "nothing"), "INTERACTIVE": False, "PAPER": "", "TABLE": "", "METRIC": "WF1"}
    ended = run_notebook(notebook, plan([notebook], given)[notebook], tmp_path, cell_timeout=300)
    assert ended["status"] == "ok", ended["error"]
    assert "`mer-kit study systems --record` records them" in (tmp_path / notebook.name).read_text()


@pytest.mark.slow
def test_the_ablations_notebook_says_what_to_record(tmp_path):
    notebook = NOTEBOOKS / "09_ablations.ipynb"
    given = {"RESULTS": str(tmp_path / "nothing"), "METRIC": "UA"}
    ended = run_notebook(notebook, plan([notebook], given)[notebook], tmp_path, cell_timeout=300)
    assert ended["status"] == "ok", ended["error"]
    said = (tmp_path / notebook.name).read_text()
    assert "mer-kit study le-mer/table-3 --record" in said and "mer-kit study jfm/weights --record" in said
