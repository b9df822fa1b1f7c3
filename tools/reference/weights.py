"""Access to the weights of a model by their dotted names, for implementations without modules."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Weights:
    """The tensors of a module; `weights / "a.b"` are those of its submodule a.b."""

    tensors: Mapping[str, Tensor]
    prefix: str = ""

    @classmethod
    def of(cls, module: nn.Module) -> "Weights":
        """Return the parameters and buffers of a module, not copies, so that the module gets gradients."""
        return cls(dict(module.named_parameters()) | dict(module.named_buffers()))

    def __truediv__(self, name: str | int) -> "Weights":
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.prefix + name]

    def __contains__(self, name: str) -> bool:
        return any(key.startswith(self.prefix + name) for key in self.tensors)
