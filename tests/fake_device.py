"""A step on fake tensors, which have shapes but no values: whatever makes the host wait for a value fails.

On a CUDA device that is not there copies between devices are seen too, but there is no way back through the network.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

no_cuda = pytest.mark.filterwarnings("ignore:.*CUDA is not available", "ignore:Accessing the data pointer of FakeTensor")


class Waits(TorchDispatchMode):
    """Fails on operations that make the host wait for a CUDA device and that fake tensors do not refuse by themselves."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name, here = func.name(), [a for a in args if isinstance(a, torch.Tensor)]
        crossing = isinstance(out, torch.Tensor) and any(a.device != out.device for a in here if a.ndim)
        if name in ("aten::_to_copy", "aten::copy_") and crossing and not kwargs.get("non_blocking"):
            raise AssertionError(f"{name} from {here[0].device} to {out.device}")
        if name == "aten::multinomial" and here[0].is_cuda:  # looks at its input to check it
            drawn = args[1]
            replacement = args[2] if len(args) > 2 else kwargs.get("replacement", False)
            assert replacement, "multinomial without replacement"
            assert drawn != 1, "multinomial of one"
        return out


def moved(module, device=None, *, memory_format=None):
    for part in module.modules():
        for kind in (part._parameters, part._buffers):
            for name, value in kind.items():
                if value is not None and device is not None:
                    kind[name] = torch.nn.Parameter(value.data.to(device)) if kind is part._parameters else value.to(device)
    return module


def made_up_gradients(parameters):
    for p in parameters:
        p.grad = torch.empty_like(p)
