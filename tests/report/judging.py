"""A verdict and checks with every part, by rules that stay as they are whatever the report's own rules become."""

from __future__ import annotations

from ltaug.report.arms import Scores
from ltaug.report.decision import Comparison, Decision, Standing
from ltaug.report.findings import Finding
from ltaug.report.gates import Gate
from ltaug.report.verdict import Recommendation, Verdict


def judged(scores: Scores, *_: object, **__: object) -> Verdict:
    """A verdict with every part, of a simple rule: what paired intervals say of every arm against the best without synthesis."""
    reference = scores.best_without
    assert reference is not None

    def against(arm: str) -> Comparison:
        d = scores.paired(arm, reference)
        outcome = {"up": "better", "down": "worse", "tie": "undecided", "unknown": "unknown"}[d.outcome]
        return Comparison(arm, reference, "macro_recall", d.mean, d.n, d.low, d.high, outcome, 0.031, 7)

    return Verdict(
        outcome="helped",
        headline="Synthetic images helped.",
        points=(Finding("Did synthetic images help?", "They did.", "cbdm minus real: a number."),),
        recommendation=Recommendation("use", f"Use {scores.best_with}.", scores.best_with),
        decision=Decision(
            (),
            None,
            None,
            None,
            (),
            (),
            (),
            Standing("macro_recall", reference, {a: against(a) for a in scores.order if a != reference}),
        ),
        decided=True,
        seeds_needed=None,
    )


GATES = (
    Gate("leak", "ok", "None of 900 synthetic images is nearer to a test image than real images are to each other.", ("cbdm",)),
    Gate("copies", "ok", "Of 900 synthetic images 2 are copies of training images.", ("cbdm",)),
    Gate("duplicates", "ok", "No training image is also a test image.", ()),
    Gate("origin", "ok", "Every synthetic image was made by a known run.", ("cbdm",)),
)
