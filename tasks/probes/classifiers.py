"""Linear classifiers of all layers under all learning rates and penalties, trained together.

Shapes: L layers, N pictures, B of them at once, D width with a column of ones behind it, K
candidates (a learning rate with a penalty), C classes. One problem is a product of
[L, B, D] features and [L, D, K·C] weights; its gradient is another one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from unimm_eval.tasks.probes.stacks import Stack

if TYPE_CHECKING:
    from torch import Tensor

MOMENTUM = 0.9
_SEED = 20_260_103
_CPU_BYTES = 2**29
"""What weights, momenta and activations may take on a CPU; more layers are trained in turn."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How classifiers are trained: stochastic gradient descent with momentum 0.9, the learning rate
    falling to 0 as a cosine, over `epochs` and at least `least_steps`.

    Learning rates are for features of variance 1 / width. Minimised is the mean cross-entropy and
    penalty / (2·pictures) · |w|² for features of variance 1, which is what scikit-learn's
    LogisticRegression(C=1 / penalty) minimises.
    """

    learning_rates: tuple[float, ...]
    penalties: tuple[float, ...]
    epochs: int
    least_steps: int
    batch_size: int

    @cached_property
    def candidates(self) -> tuple[tuple[float, float], ...]:
        """(learning rate, penalty)."""
        return tuple(product(self.learning_rates, self.penalties))

    def steps(self, pictures: int) -> int:
        return max(self.least_steps, self.epochs * math.ceil(pictures / self.batch_size))


@dataclass(frozen=True, kw_only=True)
class Probed:
    """`chosen_L` the candidate that was best on validation, `said_NL` the class that it gives each
    validation and test picture, in their order."""

    chosen_L: np.ndarray
    said_val_NL: np.ndarray
    said_test_NL: np.ndarray


def train_classifiers(
    stack: Stack,
    classes_N: np.ndarray,
    *,
    train: np.ndarray,
    val: np.ndarray,
    test: np.ndarray,
    num_classes: int,
    recipe: Recipe,
    device: str,
) -> Probed:
    """Train on the pictures at the places `train`, choose each layer's candidate on `val` (most
    right, then least cross-entropy), and say what `val` and `test` show.

    `stack` is [N, L, D], `classes_N` a class of each picture. Features are brought to mean 0 and
    variance 1/D over the training pictures. Raises UserError for features that are not finite.
    """
    parts = [
        _train(
            _Problem(
                stack=stack,
                layers=layers,
                classes_N=classes_N,
                num_classes=num_classes,
                recipe=recipe,
                device=device,
            ),
            train=train,
            val=val,
            test=test,
        )
        for layers in _groups(stack.shape, num_classes=num_classes, recipe=recipe, device=device)
    ]
    return Probed(
        chosen_L=np.concatenate([part.chosen_L for part in parts]),
        said_val_NL=np.concatenate([part.said_val_NL for part in parts], axis=1),
        said_test_NL=np.concatenate([part.said_test_NL for part in parts], axis=1),
    )


def _groups(
    shape: Sequence[int], *, num_classes: int, recipe: Recipe, device: str
) -> Iterator[slice]:
    """Layers that fit in memory together: all of them, but for large problems on small devices."""
    layers, width = shape
    outputs = len(recipe.candidates) * num_classes
    weights = 3 * (width + 1) * outputs  # with gradient and momentum
    activations = recipe.batch_size * (3 * outputs + 3 * (width + 1))
    at_once = max(1, min(layers, _room(device) // (4 * (weights + activations))))
    return (slice(start, min(start + at_once, layers)) for start in range(0, layers, at_once))


def _room(device: str) -> int:
    import torch

    if torch.device(device).type != "cuda":
        return _CPU_BYTES
    return int(torch.cuda.mem_get_info(device)[0] // 2)


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """Some layers of a stack, and the classes of its pictures."""

    stack: Stack
    layers: slice
    classes_N: np.ndarray
    num_classes: int
    recipe: Recipe
    device: str

    @property
    def num_layers(self) -> int:
        return int(self.layers.stop - self.layers.start)

    def moments(self, places: np.ndarray) -> "tuple[Tensor, Tensor]":
        """Mean and scale [L, 1, D] over pictures: x ↦ (x − mean) · scale has variance 1/D."""
        import torch

        width = self.stack.shape[1]
        shape = (self.num_layers, width)
        total, squares = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
        for _, found in self.stack.chunks(places, self.layers):
            x_BLD = torch.from_numpy(found).double()
            total += x_BLD.sum(0)
            squares += x_BLD.square().sum(0)
        mean_LD = total / len(places)
        variance_LD = (squares / len(places) - mean_LD.square()).clamp(min=0)
        constant = variance_LD <= 1e-12 * (1 + mean_LD.square())
        scale_LD = torch.where(constant, 0.0, variance_LD.clamp(min=1e-30).rsqrt())
        scale_LD = scale_LD / math.sqrt(width)
        return tuple(  # type: ignore[return-value]
            moment[:, None].float().to(self.device) for moment in (mean_LD, scale_LD)
        )

    def features(self, places: np.ndarray, moments: "tuple[Tensor, Tensor]") -> "Tensor":
        """[L, B, D], the last column ones."""
        import torch

        mean_L1D, scale_L1D = moments
        found = torch.from_numpy(self.stack.read(places, self.layers)).to(self.device)
        x_LBD = torch.ones(self.num_layers, len(places), found.shape[2] + 1, device=found.device)
        torch.mul(found.transpose(0, 1).float() - mean_L1D, scale_L1D, out=x_LBD[..., :-1])
        return x_LBD


def _train(problem: _Problem, *, train: np.ndarray, val: np.ndarray, test: np.ndarray) -> Probed:
    import torch

    with torch.no_grad():
        moments = problem.moments(train)
        w_LDX = _descend(problem, moments, train)
        said_NLK, right_LK, nats_LK = _judged(problem, moments, w_LDX, val)
        # Most right; of equals the least cross-entropy.
        order = np.lexsort((nats_LK, -right_LK), axis=1)
        chosen_L = order[:, 0]
        layers = np.arange(problem.num_layers)
        chosen_LDC = w_LDX.unflatten(2, (-1, problem.num_classes))[
            torch.from_numpy(layers), :, torch.from_numpy(chosen_L)
        ]
        said_test, _, _ = _judged(problem, moments, chosen_LDC, test)
    return Probed(
        chosen_L=chosen_L,
        said_val_NL=said_NLK[:, layers, chosen_L],
        said_test_NL=said_test[:, :, 0],
    )


def _descend(problem: _Problem, moments: "tuple[Tensor, Tensor]", train: np.ndarray) -> "Tensor":
    """Weights [L, D, K·C]."""
    import torch

    recipe, device = problem.recipe, problem.device
    candidates = torch.tensor(recipe.candidates, device=device)
    rate_K1 = candidates[:, :1]
    decay_K1 = candidates[:, 1:] / (len(train) * problem.stack.shape[1])
    shape = (problem.num_layers, problem.stack.shape[1] + 1, len(candidates), problem.num_classes)
    w_LDKC = torch.zeros(shape, device=device)
    momentum_LDKC = torch.zeros_like(w_LDKC)
    classes_N = torch.from_numpy(problem.classes_N)
    steps = recipe.steps(len(train))
    for step, places in zip(range(steps), _batches(train, recipe.batch_size), strict=False):
        x_LBD = problem.features(places, moments)
        target_B = classes_N[places].to(device)
        p_LBKC = torch.bmm(x_LBD, w_LDKC.flatten(2)).unflatten(2, shape[2:]).softmax(-1)
        index = target_B[None, :, None, None].expand(*p_LBKC.shape[:3], 1)
        p_LBKC.scatter_add_(-1, index, p_LBKC.new_full((), -1.0).expand(index.shape))
        gradient = torch.bmm(x_LBD.transpose(1, 2), p_LBKC.flatten(2)).div_(len(places))
        momentum_LDKC.mul_(MOMENTUM).add_(gradient.view_as(w_LDKC))
        momentum_LDKC[:, :-1].addcmul_(w_LDKC[:, :-1], decay_K1)  # a bias does not decay
        falling = (1 + math.cos(math.pi * step / steps)) / 2
        w_LDKC.addcmul_(momentum_LDKC, rate_K1, value=-falling)
    return w_LDKC.flatten(2)


def _batches(places: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Without end, every epoch in another order; within one each picture once. A batch reaches into
    the next epoch rather than being short."""
    rng = np.random.default_rng(_SEED)
    waiting = rng.permutation(places)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(places)])
        yield waiting[:size]
        waiting = waiting[size:]


def _judged(
    problem: _Problem,
    moments: "tuple[Tensor, Tensor]",
    w_LDX: "Tensor",
    places: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each candidate says of each picture [N, L, K], how many are right and the sum of their
    cross-entropies, both [L, K]."""
    import torch

    said: list[np.ndarray] = []
    right = nats = np.zeros(())
    for start in range(0, len(places), problem.recipe.batch_size):
        part = places[start : start + problem.recipe.batch_size]
        x_LBD = problem.features(part, moments)
        logits_LBKC = torch.bmm(x_LBD, w_LDX).unflatten(2, (-1, problem.num_classes))
        target_B = torch.from_numpy(problem.classes_N[part]).to(problem.device)
        said_LBK = logits_LBKC.argmax(-1)
        index = target_B[None, :, None, None].expand(*said_LBK.shape, 1)
        logits_of_target = logits_LBKC.gather(-1, index)[..., 0]
        right = right + (said_LBK == target_B[None, :, None]).sum(1).cpu().numpy()
        lost_LBK = logits_LBKC.logsumexp(-1) - logits_of_target
        nats = nats + lost_LBK.double().sum(1).cpu().numpy()
        said.append(said_LBK.transpose(0, 1).to(torch.int32).cpu().numpy())
    return np.concatenate(said), right, nats
