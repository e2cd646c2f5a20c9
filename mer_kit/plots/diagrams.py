"""Models as drawn diagrams: boxes and arrows; Figure 2 of LE-MER, 2 and 3 of LSGMER, 1 of JFM made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from mer_kit.plots.style import INK, axes

KINDS = MappingProxyType({  # what a box stands for -> its fill
    "input": "#F1F1F1",
    "layers with weights": "#CFE0EE",
    "states": "#FFFFFF",
    "label embeddings": "#FBE3A6",
    "joint vectors": "#E4D7EE",
    "attention": "#DCEFE3",
    "loss": "#F3CDBF",
})
WAYS = MappingProxyType({  # how an arrow runs -> matplotlib's name of it
    "straight": "arc3",
    "across": "angle,angleA=0,angleB=90,rad=8",  # sideways first, then up or down
})

UNIT = 0.88  # inches


@dataclass(frozen=True)
class Box:
    """A step of a model: `text` in it, large, `note` under that, small, and its equation's number in the corner.

    text and note may hold $formulas$.
    """

    x: float  # of the middle, in the diagram's units (UNIT inches)
    y: float
    text: str
    note: str = ""
    kind: str = "states"  # one of KINDS
    width: float = 1.5
    height: float = 0.86
    equation: str = ""


@dataclass(frozen=True)
class Arrow:
    """From one box to another, by their names."""

    start: str
    end: str
    way: str = "straight"  # one of WAYS
    dashed: bool = False


def diagram(boxes: Mapping[str, Box], arrows: Iterable[Arrow], *, width: float, height: float, title: str = "",
            ax: Axes | None = None) -> Axes:
    """Boxes by name and the arrows between them, on a sheet of width x height units, with a legend of the kinds."""
    ax = axes(ax, UNIT * width, UNIT * (height + 0.6))
    patches = {name: _draw(ax, box) for name, box in boxes.items()}
    for arrow in arrows:
        _connect(ax, arrow, boxes, patches)
    used = [kind for kind in KINDS if kind in {box.kind for box in boxes.values()}]
    handles = [Line2D([], [], marker="s", markersize=11, markerfacecolor=KINDS[k], markeredgecolor=INK, linestyle="")
               for k in used]
    ax.legend(handles, used, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=len(used), fontsize=10,
              handletextpad=0.3, columnspacing=1.5)
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal", title=title)
    ax.set_axis_off()
    return ax


def _draw(ax: Axes, box: Box) -> FancyBboxPatch:
    patch = FancyBboxPatch((box.x - box.width / 2, box.y - box.height / 2), box.width, box.height, linewidth=1.1,
                           boxstyle="round,pad=0,rounding_size=0.12", facecolor=KINDS[box.kind], edgecolor=INK)
    ax.add_patch(patch)
    ax.text(box.x, box.y + 0.16 * bool(box.note), box.text, ha="center", va="center", fontsize=12.5, color=INK,
            parse_math=True)
    ax.text(box.x, box.y - 0.23, box.note, ha="center", va="center", fontsize=9, color=INK, parse_math=True)
    ax.text(box.x + box.width / 2 - 0.08, box.y + box.height / 2 - 0.06, box.equation, ha="right", va="top",
            fontsize=7.5, color="#6B6B6B")
    return patch


def _connect(ax: Axes, arrow: Arrow, boxes: Mapping[str, Box], patches: Mapping[str, FancyBboxPatch]) -> None:
    start, end = boxes[arrow.start], boxes[arrow.end]
    ax.add_patch(FancyArrowPatch(
        (start.x, start.y), (end.x, end.y), patchA=patches[arrow.start], patchB=patches[arrow.end], shrinkA=0,
        shrinkB=1, connectionstyle=WAYS[arrow.way], arrowstyle="-|>", mutation_scale=13, linewidth=1.2, color=INK,
        linestyle="--" if arrow.dashed else "-", zorder=0))


LEMER_BOXES = MappingProxyType({
    "words": Box(1.0, 6.2, "words", "with ten turns before", "input", 1.8),
    "sound": Box(1.0, 0.8, "sound", "frames or samples", "input", 1.8),
    "text": Box(3.25, 6.2, "text encoder", "BERT", "layers with weights", 1.9),
    "speech": Box(3.25, 0.8, "speech encoder", "wav2vec2", "layers with weights", 1.9),
    "H_t": Box(5.35, 6.2, "$H_t$", "tokens × $d_t$"),
    "H_s": Box(5.35, 0.8, "$H_s$", "frames × $d_s$"),
    "L_t": Box(5.35, 4.85, "$L_t$", "$C$ × $d_t$", "label embeddings"),
    "L_s": Box(5.35, 2.15, "$L_s$", "$C$ × $d_s$", "label embeddings"),
    "G_t": Box(7.45, 4.85, "$G_t$", "tokens × $C$", "attention", equation="(1)"),
    "G_s": Box(7.45, 2.15, "$G_s$", "frames × $C$", "attention", equation="(4)"),
    "L_g_t": Box(9.6, 4.85, "$L_g^t$", "of the mean", "loss", equation="(2, 3)"),
    "L_g_s": Box(9.6, 2.15, "$L_g^s$", "of the mean", "loss", equation="(5, 6)"),
    "A_l": Box(7.45, 3.5, "$A_l = G_t\\,G_s^T$", "tokens × frames", "attention", 1.9, equation="(9)"),
    "L_c": Box(9.6, 3.5, "$L_c$", "$A_r$ near $A_l$", "loss", 1.3, equation="(10)"),
    "A_r": Box(11.6, 3.5, "$A_r$", "tokens × frames", "attention", 1.7, equation="(7)"),
    "H_m": Box(14.05, 3.5, "$H_m = [H_t\\,;\\,A_r H_s]$", "tokens × $(d_t + d_s)$", "states", 2.4, equation="(8)"),
    "v": Box(16.55, 3.5, "$v$", "max over tokens", equation="(11)"),
    "classify": Box(16.55, 4.85, "linear", "logits of $C$", "layers with weights"),
    "L_m": Box(16.55, 6.2, "$L_m$", "cross-entropy", "loss"),
})

LEMER_ARROWS = (
    Arrow("words", "text"), Arrow("sound", "speech"), Arrow("text", "H_t"), Arrow("speech", "H_s"),
    Arrow("L_t", "G_t"), Arrow("L_s", "G_s"), Arrow("H_t", "G_t", "across"), Arrow("H_s", "G_s", "across"),
    Arrow("G_t", "L_g_t"), Arrow("G_s", "L_g_s"), Arrow("G_t", "A_l"), Arrow("G_s", "A_l"),
    Arrow("A_l", "L_c", dashed=True), Arrow("A_r", "L_c", dashed=True),
    Arrow("H_t", "A_r", "across"), Arrow("H_s", "A_r", "across"), Arrow("A_r", "H_m"),
    Arrow("H_t", "H_m", "across"), Arrow("H_s", "H_m", "across"),
    Arrow("H_m", "v"), Arrow("v", "classify"), Arrow("classify", "L_m"),
)


def lemer_diagram(*, title: str = "LE-MER", ax: Axes | None = None) -> Axes:
    """The paper's Figure 2: text above, speech below, label-guided attention between them."""
    return diagram(LEMER_BOXES, LEMER_ARROWS, width=17.4, height=7.0, title=title, ax=ax)


LSGMER_BOXES = MappingProxyType({
    "words": Box(1.0, 6.6, "words", "of the turn itself", "input", 1.8),
    "sound": Box(1.0, 1.9, "sound", "frames or samples", "input", 1.8),
    "bands": Box(1.0, 0.6, "spectrogram", "80 log-mel bands", "input", 1.8),
    "text": Box(3.25, 6.6, "text encoder", "RoBERTa, frozen", "layers with weights", 1.9),
    "speech": Box(3.25, 1.9, "speech encoder", "WavLM, frozen", "layers with weights", 1.9),
    "picture": Box(3.25, 0.6, "AlexNet", "time kept", "layers with weights", 1.9),
    "H_t0": Box(5.6, 6.6, "$H_{t0}$", "BiLSTM", equation="(1)"),
    "H_a0": Box(5.6, 1.9, "$H_{a0}$", "the sum of both", equation="(2)"),
    "H_t1": Box(7.6, 5.6, "$H_{t1}$", "text asks audio", "attention", 1.6, equation="(3)"),
    "H_a1": Box(7.6, 2.9, "$H_{a1}$", "audio asks text", "attention", 1.6, equation="(4)"),
    "L": Box(9.7, 4.25, "$L$", "$C$ × $d$, averaged (9)", "label embeddings", 1.8),
    "H_t2": Box(9.7, 5.6, "$H_{t2}$", "labels ask text", "attention", 1.6, equation="(6)"),
    "H_a2": Box(9.7, 2.9, "$H_{a2}$", "labels ask audio", "attention", 1.6, equation="(5)"),
    "H_t": Box(11.9, 6.6, "$H_t$", "$\\sigma(H_{t2})\\,H_{t0} + H_{t2}$", "states", 1.9, equation="(8)"),
    "H_a": Box(11.9, 1.9, "$H_a$", "$\\sigma(H_{a2})\\,H_{a0} + H_{a2}$", "states", 1.9, equation="(7)"),
    "gate": Box(13.7, 4.25, "gate", "$g_a + g_t = 1$", "layers with weights", equation="(10)"),
    "fused": Box(15.8, 4.25, "$H_{fused}$", "$g_a H_a + g_t H_t$", "states", 1.8, equation="(11)"),
    "p": Box(18.0, 5.6, "$p$", "MLP, softmax", "layers with weights", equation="(12, 13)"),
    "q": Box(18.0, 2.9, "$q$", "cosines with $L$", "attention", equation="(14, 15)"),
    "L_ce": Box(18.0, 6.9, "$L_{ce}$", "cross-entropy", "loss", equation="(18)"),
    "L_apc": Box(18.0, 4.25, "$L_{apc}$", "$p$ near $q$", "loss", equation="(16, 17)"),
})

LSGMER_ARROWS = (
    Arrow("words", "text"), Arrow("sound", "speech"), Arrow("bands", "picture"), Arrow("text", "H_t0"),
    Arrow("speech", "H_a0"), Arrow("picture", "H_a0", "across"), Arrow("H_t0", "H_t1", "across"),
    Arrow("H_a0", "H_a1", "across"), Arrow("H_a0", "H_t1"), Arrow("H_t0", "H_a1"), Arrow("H_t1", "H_t2"),
    Arrow("H_a1", "H_a2"), Arrow("L", "H_t2"), Arrow("L", "H_a2"), Arrow("H_t2", "H_t", "across"),
    Arrow("H_a2", "H_a", "across"), Arrow("H_t0", "H_t"), Arrow("H_a0", "H_a"), Arrow("H_t", "gate", "across"),
    Arrow("H_a", "gate", "across"), Arrow("gate", "fused"), Arrow("fused", "p"), Arrow("fused", "q"),
    Arrow("p", "L_ce"), Arrow("p", "L_apc", dashed=True), Arrow("q", "L_apc", dashed=True),
)


def lsgmer_diagram(*, title: str = "LSGMER", ax: Axes | None = None) -> Axes:
    """The paper's Figure 2: each modality asks the other, labels ask both, a gate weighs what they drew."""
    return diagram(LSGMER_BOXES, LSGMER_ARROWS, width=19.0, height=7.5, title=title, ax=ax)


APC_BOXES = MappingProxyType({
    "fused": Box(1.2, 2.2, "$H_{fused}$", "of one utterance", "states", 1.9, equation="(11)"),
    "L": Box(1.2, 0.7, "$L$", "a row a class", "label embeddings", 1.9),
    "mlp": Box(3.8, 3.7, "MLP", "logits of $C$", "layers with weights", equation="(12)"),
    "cosines": Box(3.8, 0.7, "cosines", "$\\cos(H_{fused},\\,L_j)$", "attention", 1.9, equation="(14)"),
    "p": Box(6.2, 3.7, "$p$", "softmax", "states", equation="(13)"),
    "q": Box(6.2, 0.7, "$q$", "softmax", "states", equation="(15)"),
    "y": Box(8.5, 5.0, "class", "the true one", "input", 1.7),
    "L_ce": Box(8.5, 3.7, "$L_{ce}$", "cross-entropy", "loss", 1.7, equation="(18)"),
    "L_apc": Box(8.5, 2.2, "$L_{apc}$", "divergence of $p$, $q$", "loss", 1.9, equation="(16, 17)"),
    "total": Box(11.2, 2.95, "$L(\\theta)$", "$\\alpha\\,L_{ce} + \\beta\\,L_{apc}$", "loss", 1.9, equation="(19)"),
})

APC_ARROWS = (
    Arrow("fused", "mlp"), Arrow("fused", "cosines"), Arrow("L", "cosines"), Arrow("mlp", "p"), Arrow("cosines", "q"),
    Arrow("p", "L_ce"), Arrow("y", "L_ce"), Arrow("p", "L_apc", dashed=True), Arrow("q", "L_apc", dashed=True),
    Arrow("L_ce", "total"), Arrow("L_apc", "total"),
)


def apc_diagram(*, title: str = "Attribution-prediction consistency", ax: Axes | None = None) -> Axes:
    """LSGMER's Figure 3: two answers from the fused features, by classifier and by labels, held together."""
    return diagram(APC_BOXES, APC_ARROWS, width=12.4, height=5.6, title=title, ax=ax)


JFM_BOXES = MappingProxyType({
    "words": Box(1.0, 6.2, "words", "of the turn", "input", 1.6),
    "sound": Box(1.0, 0.8, "spectrogram", "80 log-mel bands", "input", 1.8),
    "encoder": Box(3.2, 6.2, "text encoder", "RoBERTa, 12th layer", "layers with weights", 2.0),
    "patches": Box(3.2, 0.8, "patches", "places, CLS", "layers with weights", 2.0),
    "blocks": Box(5.5, 6.2, "extractor", "transformer blocks", "layers with weights", 1.9),
    "F_t": Box(7.7, 6.2, "$\\mathcal{F}_t$", "tokens × $d_t$", "states", 1.6),
    "F_m": Box(7.7, 0.8, "$\\mathcal{F}_m$", "patches × $d_m$", "states", 1.6),
    "v_t": Box(7.7, 4.6, "$v^{\\,\\prime}_j$", "$|v|$ × $d_t$", "joint vectors", 1.3),
    "v_m": Box(7.7, 2.4, "$v_j$", "$|v|$ × $d_m$", "joint vectors", 1.3),
    "read_t": Box(9.9, 4.6, "LTrans", "vectors read text", "layers with weights", 1.8, equation="(3)"),
    "read_m": Box(9.9, 2.4, "VTrans", "vectors read mel", "layers with weights", 1.8, equation="(1)"),
    "bar_t": Box(12.1, 4.6, "$\\bar{v}^{\\,\\prime}_j$", "MLP of $\\hat{v}^{\\,\\prime}_j$", "joint vectors", 1.5),
    "bar_m": Box(12.1, 2.4, "$\\bar{v}_j$", "MLP of $\\hat{v}_j$", "joint vectors", 1.5),
    "write_t": Box(14.4, 6.2, "LTrans", "the same weights", "layers with weights", 1.8, equation="(2)"),
    "write_m": Box(14.4, 0.8, "VTrans", "the same weights", "layers with weights", 1.8, equation="(4)"),
    "next_t": Box(16.7, 6.2, "$\\mathcal{F}_t$ next", "after $N$ blocks, done", "states", 1.7),
    "next_m": Box(16.7, 0.8, "$\\mathcal{F}_m$ next", "after $N$ blocks, done", "states", 1.7),
    "F": Box(16.7, 3.5, "$\\mathcal{F}$", "both CLS", "states", 1.7, equation="(6)"),
    "head_t": Box(18.9, 6.2, "linear", "of its CLS", "layers with weights"),
    "head_m": Box(18.9, 0.8, "linear", "of its CLS", "layers with weights"),
    "L_ICL": Box(18.9, 3.5, "$L_{ICL}$", "own class near", "loss", equation="(7)"),
    "average": Box(21.0, 3.5, "$\\hat{r}$", "logits averaged", "states", 1.6),
    "L_ERC": Box(21.0, 6.2, "$L_{ERC}$", "cross-entropy", "loss", equation="(5)"),
})

JFM_ARROWS = (
    Arrow("words", "encoder"), Arrow("sound", "patches"), Arrow("encoder", "blocks"), Arrow("blocks", "F_t"),
    Arrow("patches", "F_m"), Arrow("F_t", "read_t"), Arrow("F_m", "read_m"), Arrow("v_t", "read_t"),
    Arrow("v_m", "read_m"), Arrow("read_t", "bar_t"), Arrow("read_m", "bar_m"), Arrow("F_t", "write_t"),
    Arrow("F_m", "write_m"), Arrow("bar_m", "write_t"), Arrow("bar_t", "write_m"), Arrow("write_t", "next_t"),
    Arrow("write_m", "next_m"), Arrow("next_t", "F"), Arrow("next_m", "F"), Arrow("next_t", "head_t"),
    Arrow("next_m", "head_m"), Arrow("F", "L_ICL", dashed=True), Arrow("head_t", "average"),
    Arrow("head_m", "average"), Arrow("average", "L_ERC"),
)


def jfm_diagram(*, title: str = "JFM + ICL", ax: Axes | None = None) -> Axes:
    """The paper's Figure 1, one block of it: joint vectors read one stream and are written into the other."""
    return diagram(JFM_BOXES, JFM_ARROWS, width=22.0, height=7.0, title=title, ax=ax)
