"""What is not part of the experiment: where it runs, how it is computed, where data lies and progress is recorded.

It stands here, not beside the stages, so that the command line can read it without loading torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ltaug import methods
from ltaug.fields import option
from ltaug.registry import require_extra

# The parts of the work that read options of Machine: which a command has says which of them it offers.
READING, COMPUTING, NETWORKS, FITTING = "reading", "computing", "networks", "fitting"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Options that change how a result is computed, and not the result."""

    device: str = option("auto", "where to compute; auto: CUDA if there is one", choices=("auto", "cpu", "cuda"), part=COMPUTING)
    threads: int | None = option(None, "CPU threads [default: all cores; in parallel workers 1]", low=1, part=COMPUTING)
    log: tuple[str, ...] = option(("jsonl",), "progress records of a run, one or several", choices=methods.SINKS, part=COMPUTING)
    track: tuple[str, ...] = option((), "trackers that also get figures and reports", choices=methods.TRACKERS, part=COMPUTING)
    data_dir: Path | None = option(  # noqa: RUF009
        None, "where downloaded sets and weights are kept [default: ~/.cache/ltaug/datasets]", part=READING
    )
    download: bool = option(False, "allow datasets and published weights to be downloaded", part=READING)
    skip_bad: bool = option(False, "leave unreadable images out instead of stopping", part=READING)
    max_image_pixels: int = option(
        64_000_000,
        "image files of more pixels count as unreadable, and are not decoded",
        low=1,
        high=178_956_970,  # above this Pillow refuses by itself
        part=READING,
    )
    verify: bool = option(
        False, "read decoded images and a finished synthesis for their digests, even if unchanged", part=READING
    )
    precision: str = option(
        "auto",
        "number format of networks; auto is bf16 on CUDA and, for images above 16 px, on CPUs with bf16 instructions",
        choices=("auto", "fp32", "bf16"),
        part=NETWORKS,
    )
    compile: str = option(
        "auto",
        "torch.compile, and on CUDA a graph of a classifier's step; auto: on CUDA, if the work is long enough",
        choices=("auto", "yes", "no"),
        part=NETWORKS,
    )
    micro_batch: int | None = option(
        None,
        "images per forward pass of the generator: less memory, the same step [default: the whole batch]",
        low=1,
        part=FITTING,
    )
    checkpoint_activations: bool = option(False, "recompute blocks backwards: less memory, a third more time", part=FITTING)
    preview: int | None = option(
        None, "steps between sheets of samples in OUT/previews, of the same noise [default: none]", low=1, part=FITTING
    )
    plain: bool = option(False, "fit the generator the slow reference way: float32, one pass a conditioning, loops", part=FITTING)

    def __post_init__(self) -> None:
        """Raise OptionError for a tracker that is not installed."""
        for name in self.track:
            require_extra(name, name, f"--track {name}")
