"""What a GPU records must not ask the host anything. Whether it does shows without a GPU, too."""
from dataclasses import replace
from functools import partial

import pytest, torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dd_lnl import core, dance, data, datm, fused, networks, rcig, training
from dd_lnl.core import LabelledImages, Space, generator
from dd_lnl.device import Graphed, lowered, precision, spread

READS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "unique2"} # a value, or a shape that depends on one
C = 10


class NoHost(TorchDispatchMode):
    "Refuses what cannot be recorded: reading a value, a shape that depends on one, and tensors of two devices."
    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out, name = op(*args, **(kwargs or {})), op._schema.name.split("::")[1]
        tensors = [t for t in tree_leaves((args, out)) if isinstance(t, torch.Tensor)]
        if name in READS or name == "index" and any(t.dtype == torch.bool for t in tensors[1:]): raise AssertionError(f"{name} asks for a value")
        if name.startswith("lift_fresh") or len({t.device.type for t in tensors if t.ndim}) > 1: raise AssertionError(f"{name} copies from the host")
        return out


@pytest.fixture
def card():
    "Tensors are made on the device cuda and have no values, so no GPU is needed; nor can they go through autograd."
    core.per_channel.cache_clear()
    with FakeTensorMode(), torch.device("cuda"): yield
    core.per_channel.cache_clear()


def recorded(f, *args):
    "Runs f as a recording does: once to warm up, once watched."
    f(*args)
    with NoHost(): return f(*args)


def recorded_here(f, *args):
    "The same with values on the CPU, where autograd works. What f makes without saying on which device, lands on another one and fails."
    f(*args)
    with NoHost(), torch.device("meta"): return f(*args)


def net_of(**kwargs):
    net = networks.convnet((3, 8, 8), C, depth=2, width=4, **kwargs)
    return net.requires_grad_(False), torch.randn(networks.size(net))


def test_the_watch_sees(card):
    x = torch.ones(3)
    for f in (lambda: x.sum().item(), lambda: x[x > 0], lambda: torch.eye(3, device="cpu").to(x), lambda: x.new_tensor([1., 2.])):
        with pytest.raises(Exception): recorded(f)
    assert recorded(lambda: x.new_ones(2)).is_cuda


def test_the_watch_sees_here():
    x = torch.ones(3)
    for f in (lambda: x.sum().item(), lambda: x[x > 0], lambda: x @ torch.eye(3), lambda: x.new_tensor([1., 2.])):
        with pytest.raises(Exception): recorded_here(f)
    assert len(recorded_here(lambda: x.new_ones(2))) == 2


@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_training(loss, dtype):
    net, theta = net_of()
    with lowered(dtype): g = recorded_here(partial(training.gradients, net, loss), torch.stack([theta] * 2), torch.rand(2, 5, 3, 8, 8), torch.rand(2, 5, C))
    assert g.shape == (2, len(theta)) and g.dtype == torch.float32


@pytest.mark.parametrize("space", [Space("channels", (.5, .4, .3), (.2, .2, .2)),
                                   Space("zca", centre=torch.zeros(192), whiten=torch.eye(192), unwhiten=torch.eye(192))])
@pytest.mark.parametrize("per_group", [C, 4])
def test_dance(space, per_group):
    (net, theta), S = net_of(), torch.rand(C, 2, 3, 8, 8)
    train = LabelledImages(torch.rand(20, 3, 8, 8), torch.zeros(20, dtype=torch.int64), tuple("0123456789"), space)
    fixed = train, net, dance.preset("cifar10", 2, factor=2), per_group
    which, real = torch.zeros(C, 5, dtype=torch.int64), torch.zeros(C, 4, dtype=torch.int64)
    draws = [(op, torch.rand(C, k)) for op, k in (("color", 3), ("crop", 6), ("cutout", 4))]
    g, loss = recorded_here(partial(dance.inner_gradient, *fixed), S, theta, real, torch.rand(C, 4), which, draws)
    assert g.shape == S.shape and loss.shape == ()
    assert recorded_here(partial(dance.calibration_gradient, *fixed), S, theta, which, draws)[0].shape == S.shape


@pytest.mark.parametrize("how", ["tesla", "exact"])
@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_datm(card, how, reuse, dtype):
    net, theta = net_of()
    batches = [(torch.rand(5, 3, 8, 8), torch.rand(5, C)) for _ in range(3)]
    with lowered(dtype): found = recorded(partial(datm.matching_gradients, net, how=how, reuse=reuse), theta, theta + 1, batches, torch.tensor(.01))
    assert [(g.dtype, g.device.type) for g in found.images] == [(torch.float32, "cuda")] * 3


def test_rcig(card):
    net, theta = net_of(norm=None, growth=2, activation=partial(torch.nn.Softplus, beta=60., threshold=40.))
    config = rcig.preset("cifar10", 1)
    x, y = rcig.mirrored(torch.rand(C, 3, 8, 8), torch.rand(C, C), config)
    kept, A = [networks.trace(net, theta, x)[1]], torch.rand(len(x), len(x), dtype=torch.float64)
    S = rcig.Support(net, theta, x, y.double(), kept[0][-1].double(), A, 0., 1e-6, True, kept, rcig.chooser(len(x), config, None, x.device))
    real, labels, rates = torch.rand(6, 3, 8, 8), torch.zeros(6, dtype=torch.int64), list(torch.rand(2, dtype=torch.float64))
    loss, direct, implicit, path = recorded(rcig.outer_gradients, S, torch.zeros(()), real, labels, rates)
    assert path.shape == (20,) and direct[0].shape == (C, 3, 8, 8) == implicit[0].shape
    recorded(partial(rcig.regression_gradient, net), theta, x, y)


@pytest.mark.parametrize("kwargs", [{}, dict(norm=None), dict(activation=torch.nn.Softplus)])
@pytest.mark.parametrize("side", [8, 10]) # ten pixels: the second block has an odd side
def test_fused_blocks(kwargs, side, monkeypatch):
    "The walk over the blocks, with the kernel's plain counterpart in its place."
    monkeypatch.setattr(fused, "works", lambda device: True)
    monkeypatch.setattr(fused, "norm_relu_pool", lambda x, gain, bias, eps, dtype: fused.plainly(x, gain, bias, eps).to(dtype or x.dtype))
    body, x = networks.convnet((3, side, side), C, depth=2, width=4, **kwargs).body, torch.randn(5, 3, side, side)
    torch.testing.assert_close(body.fused(x), body(x))
    monkeypatch.setattr(fused, "works", lambda device: False)
    assert torch.equal(body.fused(x), body(x))


SHORT = {"dance": dict(iterations=4, n_experts=1, expert=dict(epochs=1)), "rcig": dict(iterations=4),
         "datm": dict(iterations=4, max_start=2, first_max=2, expert=dict(n_experts=2, epochs=4, keep=4))}


def distilled(name, device="cpu"):
    "The images of a short distillation, experts included."
    module, train = {"dance": dance, "datm": datm, "rcig": rcig}[name], data.load("digits", device=device)[0]
    train = replace(train, space=data.space(name, "digits", train.images))
    with precision("float32", device): return module.distil(train, module.preset("digits", 2, **SHORT[name]), rng=generator(0, "graphs")).images


def replayed(f, inputs):
    "What a CUDA graph does: the same work on the same addresses, whatever stands there by then."
    outputs = f(*inputs)
    def replay():
        new, old = [], []
        spread(f(*inputs), new), spread(outputs, old)
        for a, b in zip(old, new): a.copy_(b)
    return replay, outputs


@pytest.mark.parametrize("name", SHORT)
def test_replaying_changes_nothing(name, monkeypatch):
    plain, made = distilled(name), []
    def with_stand_in(self, f):
        self.f, self.record, self.records = f, replayed, {}
        made.append(self)
    monkeypatch.setattr(Graphed, "__init__", with_stand_in)
    assert torch.equal(distilled(name), plain)
    assert made and all(1 <= len(graphed.records) <= 4 for graphed in made) # recorded once a shape, not once an iteration


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@GPU
def test_the_fused_blocks_work_on_this_gpu(): assert fused.works(torch.device("cuda"))


@GPU
@pytest.mark.filterwarnings("error") # a recording that fails says so in a warning
@pytest.mark.parametrize("name", SHORT)
def test_a_recorded_distillation_equals_a_plain_one(name, monkeypatch):
    recorded = distilled(name, "cuda")
    monkeypatch.setattr(Graphed, "__call__", lambda self, *args: self.f(*args))
    torch.testing.assert_close(recorded, distilled(name, "cuda"), atol=1e-3, rtol=1e-3)
