"""JFM + ICL: Emotional Cross-Modal Fusion and Inter-class Contrastive Learning (Shi, Zhang et al., 2024).

Symbols: F_t (batch, tokens, d_t), F_m (batch, patches, d_m) the streams of text and mel-spectrogram, CLS first; v
(|v|, d) the joint vectors of a block and direction; v_hat (batch, |v|, d) what they have read of a stream, v_bar the
same in the other stream's space; F (batch, d_t + d_m). LTrans, VTrans: layers of a BERT and of a ViT. Losses are means
over the batch.

    equation    function                what it gives
    (1) (3)     read                    v_hat: joint vectors beside a stream, through that stream's layer
    (2) (4)     write                   the other stream's next states, v_bar beside it
    (1)-(4)     JointFusion             N blocks, both ways in each
    (5)         average, cross-entropy  the logits of two heads averaged, L_ERC
    (6)         joined                  F: both CLS tokens
    (7)         contrastive_loss        L_ICL
    Table 1     jfm_streams.OneModality         T and A
    Table 2     jfm_streams.LateFusion          w/o JFM; |v| = 0 is w/o v_j, a weight of 0 w/o ICL
    Table 3     jfm_streams.CrossModalFusion    CFA; concatenation is LateFusion with one classifier over F

Concatenation's classifier has two layers: one over F would be the sum of two heads, which is w/o JFM again.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from mer_kit.batch import Batch, ModelOutput, Padded
from mer_kit.errors import BadInput, unknown
from mer_kit.models import encode
from mer_kit.models.jfm_streams import (
    CrossModalFusion,
    Extractor,
    LateFusion,
    of_all_tokens,
    stream_tokens,
    take,
)

FUSIONS = MappingProxyType({
    "joint": "joint vectors carry between the streams (JFM)",
    "late": "nothing does; two heads averaged (w/o JFM)",
    "cross attention": "each stream attends to the other (CFA)",
    "concatenation": "nothing does; one classifier over both CLS tokens",
})
STREAMS = ("parallel", "swapped")
TOKENS = ("current", "all")


@dataclass(frozen=True)
class JFMConfig:
    """The choices of JFM + ICL.

    blocks: N. joint: |v_j|; 0 is without v_j. tied: LTrans and VTrans are the same in both directions; else they only
    start the same. streams: (2) calls F_mt what text becomes by mel's help, and (1) feeds F_mt to VTrans in the next
    block: read literally, the streams change layers at each block ("swapped"); "parallel" leaves text with LTrans and
    mel with VTrans, as the figure does. extractor, heads, feed_forward: number and sizes of the transformer blocks
    behind the text encoder. tokens: the stream of text holds the utterance's own tokens, once the text encoder has read
    them with their history ("current"), or those of the history too ("all"). icl: weight of (7); 0 is without ICL.
    temperature, normalise: of (7); the cited work scales F to length 1, which (7) does not print. positives: each class
    of a training batch is to be there twice or more, so that (7) has what it compares.
    """

    fusion: str = "joint"
    blocks: int = 2
    joint: int = 4
    tied: bool = True
    streams: str = "parallel"
    extractor: int = 2
    heads: int = 8
    feed_forward: int = 1024
    tokens: str = "all"
    icl: float = 0.1
    temperature: float = 0.1
    normalise: bool = True
    positives: bool = False
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for kind, valid in (("fusion", FUSIONS), ("streams", STREAMS), ("tokens", TOKENS)):
            if getattr(self, kind) not in valid:
                raise unknown(kind, getattr(self, kind), valid)
        if self.blocks < 1 or self.joint < 0 or self.extractor < 0:
            raise BadInput(f"got {self.blocks} blocks, {self.joint} joint vectors and {self.extractor} blocks behind "
                           "the text encoder; expected a block or more, and 0 or more of the others")
        if self.temperature <= 0 or self.icl < 0:
            raise BadInput(f"got temperature {self.temperature} and icl {self.icl}; expected a temperature above 0 and "
                           "a weight of 0 or more")


WITHOUT = MappingProxyType({  # what Table 2 leaves out -> how
    "JFM": {"fusion": "late"},
    "v_j": {"joint": 0},
    "ICL": {"icl": 0.0},
})
PRESETS = MappingProxyType({
    "paper": JFMConfig(),
    "offline": JFMConfig(extractor=1, heads=4, feed_forward=256, tokens="current", dropout=0.2),
})


def beside(stream: Padded, v: Tensor) -> Padded:
    """stream ⊕ v: vectors (batch, |v|, d), all of them real, behind the stream's states (batch, length, d)."""
    real = stream.mask.new_ones(v.shape[:2])
    return Padded(torch.cat([stream.values, v], dim=1), torch.cat([stream.mask, real], dim=1))


def read(stream: Padded, v: Tensor, layer: nn.Module) -> tuple[Tensor, Tensor]:  # Eq. 1, 3
    """v_hat (batch, |v|, d) of v (|v|, d), and what each vector attended to, (batch, length, |v|).

    What the layer makes of the stream itself is not used.
    """
    length = stream.mask.shape[1]
    states, attention = layer(beside(stream, v.expand(len(stream.values), -1, -1)))
    return states.values[:, length:], attention[:, length:, :length].transpose(1, 2)


def write(stream: Padded, v_bar: Tensor, layer: nn.Module) -> tuple[Padded, Tensor]:  # Eq. 2, 4
    """The stream's next states, and how much each of them took from each vector, (batch, length, |v|)."""
    length = stream.mask.shape[1]
    states, attention = layer(beside(stream, v_bar))
    return Padded(states.values[:, :length], stream.mask), attention[:, :length, length:] * stream.mask[..., None]


class JointFusion(nn.Module):  # Eq. 1-4
    """N blocks; in each, joint vectors bring mel to text while others bring text to mel.

    attention, each (batch, length, N, |v|): "joint_token", "joint_patch", what vectors attended to in (3) and (1);
    "token_joint", "patch_joint", how much places took from vectors in (2) and (4).
    """

    def __init__(self, language: nn.ModuleList, vision: nn.ModuleList, config: JFMConfig) -> None:
        """language, vision: LTrans and VTrans, a layer a block."""
        super().__init__()
        if not len(language) == len(vision) == config.blocks:
            raise BadInput(f"got {len(language)} layers of LTrans and {len(vision)} of VTrans; expected one of each in "
                           f"each of {config.blocks} blocks")
        d_t, d_m = language[0].dim, vision[0].dim
        if config.streams == "swapped" and d_t != d_m:
            raise BadInput(f"got streams of {d_t} (text) and {d_m} (mel) dimensions; streams='swapped' sends each "
                           "through the other's layers and needs one width; take streams='parallel'")
        self.config, self.language, self.vision = config, language, vision
        if not config.tied:
            self.language_2, self.vision_2 = deepcopy(language), deepcopy(vision)
        widths = {"text": (d_m, d_t), "mel": (d_t, d_m)} if config.joint else {}
        self.v = nn.ParameterDict({side: 0.02 * torch.randn(config.blocks, config.joint, d)
                                   for side, (d, _) in widths.items()})
        self.mlp = nn.ModuleDict({side: nn.ModuleList(
            nn.Sequential(nn.Linear(d, other), nn.GELU(), nn.Linear(other, other)) for _ in range(config.blocks))
            for side, (d, other) in widths.items()})

    def forward(self, text: Padded, mel: Padded) -> tuple[Padded, Padded, dict[str, Tensor]]:
        seen: dict[str, list[Tensor]] = {}
        text_is, mel_is = "token", "patch"
        for block in range(self.config.blocks):
            text, mel = (self._towards("text", block, mel, text, mel_is, text_is, seen),
                         self._towards("mel", block, text, mel, text_is, mel_is, seen))
            if self.config.streams == "swapped":
                text, mel, text_is, mel_is = mel, text, mel_is, text_is
        return text, mel, {name: torch.stack(maps, dim=2) for name, maps in seen.items()}

    def _towards(self, side: str, block: int, source: Padded, target: Padded, source_is: str, target_is: str,
                 seen: dict[str, list[Tensor]]) -> Padded:
        """The next states of `target`, with what joint vectors bring it from `source`."""
        copy = "_2" if side == "mel" and not self.config.tied else ""
        language, vision = (getattr(self, f"{kind}{copy}")[block] for kind in ("language", "vision"))
        reader, writer = (vision, language) if side == "text" else (language, vision)
        if not self.config.joint:
            return writer(target)[0]
        v_hat, of_source = read(source, self.v[side][block], reader)
        states, of_target = write(target, self.mlp[side][block](v_hat), writer)
        seen.setdefault(f"joint_{source_is}", []).append(of_source)
        seen.setdefault(f"{target_is}_joint", []).append(of_target)
        return states


def average(logits_t: Tensor, logits_m: Tensor) -> Tensor:  # Eq. 5
    """The logits (batch, C) of the two heads averaged, before the softmax that is part of the cross-entropy."""
    return (logits_t + logits_m) / 2


def joined(cls_t: Tensor, cls_m: Tensor) -> Tensor:  # Eq. 6
    """F (batch, d_t + d_m)."""
    return torch.cat([cls_t, cls_m], dim=-1)


def contrastive_loss(F: Tensor, y: Tensor, temperature: float = 0.1, normalise: bool = True,
                     gather: bool = False) -> Tensor:  # Eq. 7
    """L_ICL of F (batch, d) with classes y (batch,): how much nearer than all others those of one's class are.

    P(i) holds the others of i's class, as in the cited work; an utterance without any counts 0. The mean over the
    batch, where (7) sums. gather: among the utterances of all processes.
    """
    F = functional.normalize(F.float(), dim=-1) if normalise else F.float()
    others, classes, own = _of_all_processes(F, y) if gather else (F, y, 0)
    itself = own + torch.arange(len(y), device=y.device)[:, None] == torch.arange(len(others), device=y.device)
    with torch.autocast(F.device.type, enabled=False):
        near = (F @ others.T / temperature).masked_fill(itself | (classes < 0), torch.finfo(F.dtype).min)
    positive = (y[:, None] == classes) & ~itself
    share = near.log_softmax(dim=-1) * positive
    return -(share.sum(dim=-1) / positive.sum(dim=-1).clamp_min(1)).mean()


def _of_all_processes(F: Tensor, y: Tensor) -> tuple[Tensor, Tensor, int]:
    """F and y of all processes, gradients kept, and the row of this one's first; rows that fill up have class -1."""
    from accelerate import PartialState
    from accelerate.utils import gather, pad_across_processes

    processes = PartialState()
    if processes.num_processes == 1:
        return F, y, 0
    from torch.distributed.nn.functional import all_gather

    others = torch.cat(all_gather(pad_across_processes(F)))
    classes = gather(pad_across_processes(y, pad_index=-1))
    return others, classes, processes.process_index * len(others) // processes.num_processes


class JFM(nn.Module):
    """Encode, fuse, classify by the CLS tokens of both streams, and contrast them (the paper's Figure 1)."""

    def __init__(self, text_encoder: nn.Module, speech_encoder: nn.Module, language: nn.ModuleList,
                 vision: nn.ModuleList, classes: int, config: JFMConfig = PRESETS["offline"]) -> None:
        """speech_encoder: gives patches behind a CLS. language, vision: LTrans and VTrans, a layer a block; a fusion
        without joint vectors takes no language, and a whole ViT for vision."""
        super().__init__()
        d_t, d_m = language[0].dim if len(language) else text_encoder.dim, vision[0].dim
        self.config, self.text_encoder, self.speech_encoder = config, text_encoder, speech_encoder
        self.extract = Extractor(text_encoder.dim, d_t, config)
        if config.fusion == "joint":
            self.fusion = JointFusion(language, vision, config)
        elif config.fusion == "cross attention":
            self.fusion = CrossModalFusion(vision, d_t, d_m, config)
        else:
            self.fusion = LateFusion(vision)
        self.norm = nn.LayerNorm(d_m)  # as behind the last layer of a ViT; BERT's layers have theirs within
        self.dropout = nn.Dropout(config.dropout)
        if config.fusion == "concatenation":
            self.classify = nn.Sequential(nn.Linear(d_t + d_m, d_t), nn.ReLU(), self.dropout, nn.Linear(d_t, classes))
        else:
            self.classify = nn.ModuleDict({"text": nn.Linear(d_t, classes), "mel": nn.Linear(d_m, classes)})

    def forward(self, batch: Batch) -> ModelOutput:
        H, F_m = encode(self, batch, "text"), encode(self, batch, "speech")
        kept = stream_tokens(H, batch, self.config.tokens)
        F_t = self.extract(take(H, kept))
        text, mel, attention = self.fusion(F_t, F_m)
        cls_t, cls_m = text.values[:, 0], self.norm(mel.values[:, 0])
        output = ModelOutput(self._logits(cls_t, cls_m), attention=of_all_tokens(attention, F_t, kept),
                             masks={"tokens": H.mask, "patches": F_m.mask}, features=joined(cls_t, cls_m))
        return output if batch.labels is None else self._with_loss(output, batch.labels)

    def _logits(self, cls_t: Tensor, cls_m: Tensor) -> Tensor:
        if self.config.fusion == "concatenation":
            return self.classify(self.dropout(joined(cls_t, cls_m)))
        return average(self.classify["text"](self.dropout(cls_t)), self.classify["mel"](self.dropout(cls_m)))

    def _with_loss(self, output: ModelOutput, y: Tensor) -> ModelOutput:
        output.loss = output.terms["L_ERC"] = functional.cross_entropy(output.logits, y)
        if self.config.icl:
            output.terms["L_ICL"] = contrastive_loss(output.features, y, self.config.temperature,
                                                     self.config.normalise, gather=self.training)
            output.loss = output.terms["L_ERC"] + self.config.icl * output.terms["L_ICL"]
        return output
