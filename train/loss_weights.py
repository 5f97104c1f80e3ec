"""How the losses of text and of pictures are weighed against each other.

Fixed weights are two numbers of the recipe (eq. 3). Centred ones follow, anew at each step, from
the losses themselves, so that both contribute the same (loss centering, paper appendix D.2).
"""

from typing import Protocol

from unimm_eval.train.recipe import Recipe, Stage

_CENTRE = "loss_weights/centre"


class LossWeights(Protocol):
    """Weights of a step from its losses; the losses are means over the batch of all ranks."""

    def step(self, *, text: float, flow: float, stage: Stage) -> tuple[float, float]:
        """(w_LM, w_flow); constants to the gradient. Called once a step, in order."""

    def state(self) -> dict[str, float]:
        """What the weights of later steps depend on, by names of its own in the training state."""

    def load_state(self, values: dict[str, float]) -> None:
        """Go on from a `state()` among the numbers of a training state."""


class FixedWeights:
    """λ_LM and λ_flow of eq. 3; a stage may have a λ_flow of its own."""

    def __init__(self, *, text: float, flow: float) -> None:
        self.text, self.flow = text, flow

    def step(self, *, text: float, flow: float, stage: Stage) -> tuple[float, float]:
        return self.text, self.flow if stage.flow_weight is None else stage.flow_weight

    def state(self) -> dict[str, float]:
        return {}

    def load_state(self, values: dict[str, float]) -> None:
        pass


class CenteredWeights:
    """w_m = c_target / L_m with a running centre c_target of the losses (eq. 5–6).

    c_current = α·L_flow + (1 − α)·L_LM; c_target is c_current at first, then
    μ·c_target + (1 − μ)·c_current.

    A loss of 0 belongs to a modality that the batch lacks (or that has nothing left to learn): its
    weight is 0, and the centre stays, for c_current is not known. Until a batch had both, the loss
    that is there takes the place of the centre, so its weight is 1.
    """

    def __init__(self, *, alpha: float, momentum: float) -> None:
        self.alpha, self.momentum = alpha, momentum
        self.centre: float | None = None

    def step(self, *, text: float, flow: float, stage: Stage) -> tuple[float, float]:
        if text > 0 and flow > 0:
            current = self.alpha * flow + (1 - self.alpha) * text
            if self.centre is None:
                self.centre = current
            else:
                self.centre = self.momentum * self.centre + (1 - self.momentum) * current
        centre = max(text, flow) if self.centre is None else self.centre
        return (centre / text if text > 0 else 0.0, centre / flow if flow > 0 else 0.0)

    def state(self) -> dict[str, float]:
        return {} if self.centre is None else {_CENTRE: self.centre}

    def load_state(self, values: dict[str, float]) -> None:
        self.centre = values.get(_CENTRE)


def loss_weights(recipe: Recipe) -> LossWeights:
    """The weights that the recipe asks for."""
    if recipe.centering is None:
        return FixedWeights(text=recipe.text_weight, flow=recipe.flow_weight)
    return CenteredWeights(alpha=recipe.centering.alpha, momentum=recipe.centering.momentum)
