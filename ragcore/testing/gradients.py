"""Compare the gradients of a component's weights with finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

__all__ = ["check_gradients"]

_TENSORS: Final = 32
"""The most weights that are compared, spread over all of them."""

_STEP: Final = 2e-2
"""How far a weight is moved, as the length of the change of its tensor."""

_SHARE: Final = 0.05
"""The largest difference of a slope, relative to the slope."""

_MOVE: Final = 0.2
"""How far a weight without gradient is moved, relative to its numbers."""

_NOISE: Final = 5e-6
"""The largest difference relative to the loss: float32 has seven digits, and a step is small."""


def check_gradients(module: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> None:
    """Check the gradient of each weight, or of 32 weights of a large module.

    A weight moved along its own gradient and at random must change the loss as the gradient says;
    one without gradient must not change it at all. The weights are restored.

    Args:
        module: the weights that training changes.
        loss: computes a loss from them, a scalar with gradient; without randomness.
    """
    import torch

    draws = torch.Generator().manual_seed(17)
    named = [(name, one) for name, one in module.named_parameters() if one.requires_grad]
    assert named, "trained_module() has no weight that can be trained"
    for _, weight in named:
        weight.grad = None
    with torch.enable_grad():
        value = loss()
        assert value.requires_grad, "the loss has no gradient"
        value.backward()  # type: ignore[no-untyped-call]
    gradients = [None if one.grad is None else one.grad.detach().clone() for _, one in named]
    for _, weight in named:
        weight.grad = None
    assert any(gradient is not None for gradient in gradients), "no weight has a gradient"
    noise = _NOISE * max(1.0, abs(float(value.detach())))
    for number in sorted({len(named) * part // _TENSORS for part in range(_TENSORS)}):
        (name, weight), gradient = named[number], gradients[number]
        direction = torch.randn(weight.shape, generator=draws).to(weight)
        if gradient is None or not bool(gradient.any()):
            # Far: a small step at random would hardly touch what a large weight decides.
            scale = _MOVE * (float(weight.detach().square().mean().sqrt()) or 1.0)
            change = _moved(weight, scale * direction, loss) - float(value.detach())
            assert abs(change) <= 10 * noise, (
                f"weight {name!r} has no gradient, but the loss changes with it by {change:.4g}"
            )
            continue
        direction = direction / direction.norm() + gradient / gradient.norm()
        direction /= direction.norm()
        expected = float((gradient * direction).sum())
        coarse, fine = (_slope(weight, direction, step, loss) for step in (_STEP, _STEP / 2))
        # Richardson: the error of a central difference falls by four where the step is halved.
        slope = (4 * fine - coarse) / 3
        within = _SHARE * max(abs(expected), abs(slope)) + abs(fine - coarse) + noise / _STEP
        assert abs(slope - expected) <= within, (
            f"weight {name!r} has a gradient of {expected:.4g} along a direction, in which the "
            f"loss changes by {slope:.4g}"
        )


def _slope(
    weight: torch.nn.Parameter,
    direction: torch.Tensor,
    step: float,
    loss: Callable[[], torch.Tensor],
) -> float:
    """Return the central difference of the loss along a direction."""
    after, before = (_moved(weight, move * direction, loss) for move in (step, -step))
    return (after - before) / (2 * step)


def _moved(
    weight: torch.nn.Parameter, change: torch.Tensor, loss: Callable[[], torch.Tensor]
) -> float:
    """Return the loss with a weight changed, and restore the weight."""
    import torch

    original = weight.detach().clone()
    with torch.no_grad():
        weight.copy_(original + change)
    with torch.enable_grad():
        value = float(loss().detach())
    with torch.no_grad():
        weight.copy_(original)
    return value
