"""Attention, embeddings and protocols in JupyterLab: what is chosen or clicked is what mer_kit computes, and is heard;
and every control of every explorer has a name and is moved by keyboard."""

from __future__ import annotations

import numpy as np
from live_page import assert_drawn
from small_explorers import HONEST, NASTY, PLANTED, spaces_of

from mer_kit.corpora.protocols import make_protocol
from mer_kit.evaluation.separation import projected_together
from mer_kit.training.looking import look
from mer_kit.training.protocol_gap import protocol_gaps, told, under_protocols

PLACE = """(e, [trace, i]) => {
    const {x, y, xaxis, yaxis} = e._fullData[trace], box = e.getBoundingClientRect();
    const [across, down] = [xaxis, yaxis].map(id => e._fullLayout[id[0] + 'axis' + id.slice(1)]);
    return [box.left + across._offset + across.d2p(x[i]), box.top + down._offset + down.d2p(y[i])];
}"""
LISTEN = """a => { a.heard = []; for (const kind of ['seeking', 'playing'])
    a.addEventListener(kind, () => a.heard.push([kind, a.currentTime])); }"""
HEARD_FROM = """([a, start]) => a.heard.some(([kind]) => kind === 'playing') &&
    a.heard.some(([kind, at]) => kind === 'seeking' && Math.abs(at - start) < 0.02)"""
AT_ONCE = """(button, slider) => {
    for (const key of ['Home', 'ArrowRight', 'ArrowRight', 'ArrowRight', 'ArrowRight'])
        slider.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
    button.click();
}"""  # no time for the kernel between: it has a slider's later values only after it took the first
SEEN = "e => e._fullLayout.xaxis.range"
CONTROLS = """(area, name) => Object.fromEntries([...area.querySelectorAll(
    'select, input, textarea, button, audio, [role=slider], [contenteditable=true]')]
    .filter(e => e.getClientRects().length && !e.closest('.js-plotly-plot')).map((e, i) => {
        e.dataset.control = `${name} ${i}`;
        e.moves = 0;
        ['input', 'click', 'play'].forEach(kind => e.addEventListener(kind, () => e.moves++));
        new MutationObserver(() => e.moves++).observe(e, {attributeFilter: ['aria-valuenow']});
        const kind = e.getAttribute('role') ?? (e.localName === 'input' ? e.type : e.localName);
        return [e.dataset.control, kind === 'audio' && !e.src ? 'silent' : kind];
    }))"""
FOCUSED = "area => area.contains(document.activeElement) ? document.activeElement.dataset.control ?? null : null"
KEYS = {"select": ("ArrowDown", "ArrowUp"), "slider": ("ArrowRight", "ArrowLeft"), "checkbox": ("Space",),
        "button": ("Enter",), "audio": ("Space",), "text": ("End", "5", "Enter"), "div": ("End", "1", "Enter"),
        "silent": ()}


def choose(cell, **options: str) -> None:
    for control, option in options.items():
        cell.get_by_label(control, exact=True).select_option(option)


def place(cell, trace: int, point: int) -> list[float]:
    """Where a point of the cell's figure is on the page, px."""
    cell.scroll_into_view_if_needed()
    return cell.locator(".js-plotly-plot").first.evaluate(PLACE, [trace, point])


def zoom_into(page, plot) -> list[float]:
    """Drag over the middle of a figure: what of its x axis was seen before."""
    area, whole = plot.locator(".nsewdrag").first.bounding_box(), plot.evaluate(SEEN)
    start, end = ([area["x"] + share * area["width"], area["y"] + share * area["height"]] for share in (0.3, 0.6))
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=3)
    page.mouse.up()
    page.wait_for_function(f"([e, [left]]) => ({SEEN})(e)[0] > left", arg=[plot.element_handle(), whole])
    return whole


def assert_heard_from(page, cell, seconds: float) -> None:
    page.wait_for_function(HEARD_FROM, arg=[cell.locator("audio").element_handle(), seconds])


def test_attention_is_where_the_chosen_model_looks_and_a_click_plays_from_there(explorers, planted_runs):
    watched, cell = explorers.page("attention_explorer")
    plot, audio = cell.locator(".js-plotly-plot").first, cell.locator("audio")
    test = sorted(planted_runs["LE-MER"].fold.test)
    for name, utterance in (("LSGMER", test[0]), ("LE-MER", PLANTED)):
        choose(cell, model=name, label="all")
        cell.get_by_label("utterance", exact=True).select_option(index=test.index(utterance))
        found = look(planted_runs[name], utterance)
        for i, label in [*enumerate(found.lines), (None, "all")]:
            choose(cell, label=label)
            shown = range(len(found.lines)) if i is None else [i]
            curves = [y for k in shown for y in (found.of_frames[:, k], [*found.of_words[:, k], found.of_words[-1, k]])]
            assert_drawn(plot, "y", curves, first=1)
            for k in shown:
                best = found.words[found.of_words[:, k].argmax()]
                second = (found.of_frames[:, k].argmax() + 0.5) / found.frame_rate
                said = f"{list(found.lines)[k]} on “{best}” and at {second:.2f} s"
                cell.locator(".widget-html-content", has_text=said).wait_for()
    watched.screenshot("lab-attention-explorer")
    whole = zoom_into(watched.page, plot)
    choose(cell, label=next(iter(found.lines)))
    watched.page.wait_for_function(f"([e, whole]) => ({SEEN})(e).join() === whole.join()",
                                   arg=[plot.element_handle(), whole])
    audio.evaluate(LISTEN)
    frame = len(found.of_frames) // 2
    watched.page.mouse.click(*place(cell, 1, frame))
    assert_heard_from(watched.page, cell, (frame + 0.5) / found.frame_rate)
    handle = cell.get_by_role("slider", name="hear from").element_handle()
    cell.get_by_role("button", name="play from there").evaluate(AT_ONCE, handle)
    assert_heard_from(watched.page, cell, 0.2)
    watched.page.mouse.move(*place(cell, 2, 0))
    cell.locator(".hovertext", has_text="<img").first.wait_for()
    assert cell.locator(".annotation-text", has_text="<img").count() == 1
    assert NASTY in cell.get_by_label("utterance", exact=True).inner_text().replace("\xa0", " ")


def test_points_are_where_mer_kit_projects_them_and_a_click_reads_and_plays_one(explorers, planted_runs, tested):
    watched, cell = explorers.page("embedding_explorer")
    plot, corpus = cell.locator(".js-plotly-plot").first, planted_runs["LE-MER"].stage.corpus
    rows = corpus.table.set_index("id")
    for name, space in reversed(spaces_of(tested / "planted").items()):
        labels = rows.loc[space.features.index, "label"].to_numpy()
        for method in ("tsne", "pca"):
            choose(cell, system=name, projection=method)
            points, stars = projected_together(space.features.to_numpy(), space.labels, method)
            for axis, at, star in zip("xy", points.T, stars.T, strict=True):
                assert_drawn(plot, axis, [*(at[labels == c] for c in corpus.label_set.classes), star])
    cell.locator("audio").evaluate(LISTEN)
    ids, own = space.features.index, rows.at[PLANTED, "label"]
    at = place(cell, corpus.label_set.index(own), int(np.flatnonzero(ids[labels == own] == PLANTED)[0]))
    watched.page.mouse.move(*at)
    cell.locator(".hovertext", has_text=NASTY).wait_for()
    watched.page.mouse.click(*at)
    cell.get_by_text(f"{PLANTED} ({own}, taken for {space.predicted[PLANTED]}): {NASTY}", exact=True).wait_for()
    watched.page.wait_for_function("([list, id]) => list.value === id", arg=[
        cell.get_by_label("utterance", exact=True).element_handle(), PLANTED])
    watched.page.wait_for_function("a => a.heard.some(([kind]) => kind === 'playing')",
                                   arg=cell.locator("audio").element_handle())
    watched.screenshot("lab-embedding-explorer")


def test_each_protocol_shows_its_score_its_flaw_and_who_is_in_which_part(explorers, planted_runs, tested):
    watched, cell = explorers.page("protocol_switch")
    scores, parts = (cell.locator(".js-plotly-plot").nth(i) for i in (0, 1))
    runs = under_protocols(HONEST, tested / "planted", progress=False, device="cpu")
    corpus = planted_runs["LE-MER"].stage.corpus
    for metric in ("UA", "WF1", "WA"):
        table = protocol_gaps(runs, metric).set_index("protocol", drop=False)
        for scheme in reversed(table.index):
            choose(cell, score=metric, protocol=scheme)
            cell.get_by_text(told(table.loc[scheme]), exact=True).wait_for()
            assert_drawn(scores, "x", [100 * table["mean"]])
            assert_drawn(parts, "text", [make_protocol(corpus, scheme).roles(corpus, "speaker").to_numpy().tolist()])
    watched.screenshot("lab-protocol-switch")


def test_every_control_has_a_name_and_is_reached_and_moved_by_keyboard(explorers):
    asked = explorers.watched.page.context.new_cdp_session(explorers.watched.page)
    for name in explorers.cells:
        watched, cell = explorers.page(name)
        area = cell.locator(".jp-OutputArea")
        kinds = area.evaluate(CONTROLS, name)
        assert kinds and set(kinds.values()) <= set(KEYS)
        assert {control: named(asked, control) for control in kinds if not named(asked, control)} == {}
        assert reached(watched.page, area, list(kinds)) == set(kinds)
        for control, kind in kinds.items():
            moved = area.locator(f"[data-control='{control}']")
            moved.focus()
            for key in KEYS[kind]:
                watched.page.keyboard.press(key)
            if KEYS[kind]:  # else the page's patience ends here
                watched.page.wait_for_function("e => e.moves", arg=moved.element_handle())


def named(asked, control: str) -> str:
    """What Chromium tells a screen reader: the computed name of a control."""
    root = asked.send("DOM.getDocument")["root"]["nodeId"]
    found = asked.send("DOM.querySelector", {"nodeId": root, "selector": f"[data-control='{control}']"})
    [told, *_] = asked.send("Accessibility.getPartialAXTree", found | {"fetchRelatives": False})["nodes"]
    return told.get("name", {}).get("value", "")


def reached(page, area, controls: list[str]) -> set[str]:
    """Controls on which the focus comes by Tab from the first one to the last, and back by Shift+Tab."""
    area.locator(f"[data-control='{controls[0]}']").focus()
    found = set()
    for key, last in (("Tab", controls[-1]), ("Shift+Tab", controls[0])):
        for _ in range(12 * len(controls)):  # a player has several buttons of its own
            page.keyboard.press(key)
            found.add(area.evaluate(FOCUSED))
            if last in found:
                break
    return found - {None}
