"""A sound that plays from where one clicks."""

from __future__ import annotations

import anywidget
import traitlets

SCRIPT = """
export default {
  render({ model, el }) {
    const audio = document.createElement("audio");
    audio.controls = true;
    const load = () => {
      audio.setAttribute("aria-label", model.get("label"));
      if (model.get("source")) { audio.src = model.get("source"); } else { audio.removeAttribute("src"); }
    };
    const play = () => {
      audio.currentTime = model.get("start");
      audio.play().catch(() => {});
    };
    load();
    el.append(audio);
    model.on("change:source change:label", load);
    model.on("change:plays", play);
    return () => audio.pause();
  },
};
"""


class Player(anywidget.AnyWidget):
    """An audio element; it has the browser's own controls too."""

    _esm = SCRIPT
    source = traitlets.Unicode().tag(sync=True)  # a data URI; empty: nothing to hear
    label = traitlets.Unicode("sound").tag(sync=True)  # read out by screen readers
    start = traitlets.Float().tag(sync=True)  # s, where it plays from
    plays = traitlets.Int().tag(sync=True)  # how often it was told to play

    def play(self, seconds: float | None = None) -> None:
        """Play to the end, in the browser; None: from `start` as it stands there, which a link may have set."""
        if seconds is not None:
            self.start = max(0.0, float(seconds))
        self.plays += 1
