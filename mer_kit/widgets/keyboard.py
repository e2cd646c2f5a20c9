"""What ipywidgets leave to be done for those who use no mouse, or no screen."""

from __future__ import annotations

import anywidget

SCRIPT = """
const OURS = ":is(.mer-explorer, .mer-question)";

const nameSliders = () => document.querySelectorAll(`${OURS} .widget-hslider`).forEach((slider) => {
  const said = slider.querySelector(".widget-label")?.textContent;
  slider.querySelectorAll(".noUi-handle, .widget-readout").forEach((part) => part.setAttribute("aria-label", said));
});

const keepKeys = ({ target }) => {
  if (target.matches(`${OURS} :not(:read-write)`)) target.setAttribute("data-lm-suppress-shortcuts", "true");
};

export default {
  render() {
    const drawn = new MutationObserver(nameSliders);
    drawn.observe(document.body, { childList: true, subtree: true });
    document.addEventListener("focusin", keepKeys);
    nameSliders();
    return () => (drawn.disconnect(), document.removeEventListener("focusin", keepKeys));
  },
};
"""


class Keyboard(anywidget.AnyWidget):
    """Shows nothing. The handles of sliders get their names, which ipywidgets write beside them only; and arrow keys
    on a list choose from it, where JupyterLab would move to the next cell."""

    _esm = SCRIPT
