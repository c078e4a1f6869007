"""A card that is not there: tensors on it have shape, type and device, but no values."""

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map


class Card(FakeTensorMode):
    """Inside, tensors of any device but the CPU are fake; what is brought back to the CPU is real: 0, and a
    single truth value that is read is True.

    A fake tensor refuses to be computed with one of another device, as a real one does. Without a card, fakes of "cuda"
    go forward but not backward; those of "meta" do both.
    """

    inside = False  # another operation, of which this one is a part

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.inside:
            return super().__torch_dispatch__(func, types, args, kwargs)
        if not any(map(_is_there, tree_leaves((args, kwargs)))):
            return func(*args, **kwargs)
        if func is torch.ops.aten._local_scalar_dense.default:
            return args[0].dtype is torch.bool
        self.inside = True
        try:
            args, kwargs = tree_map(self._fake, (args, kwargs))
            return tree_map(_brought_back, super().__torch_dispatch__(func, types, args, kwargs))
        finally:
            self.inside = False

    def __deepcopy__(self, memory):
        return self

    def _fake(self, value):
        real = isinstance(value, torch.Tensor) and not isinstance(value, FakeTensor)
        return self.fake_tensor_converter.from_real_tensor(self, value) if real else value


def _is_there(value):
    return isinstance(value, FakeTensor) or (isinstance(value, torch.device) and value.type != "cpu")


def _brought_back(value):
    if isinstance(value, FakeTensor) and value.device.type == "cpu":
        return torch.zeros(value.shape, dtype=value.dtype)
    return value
