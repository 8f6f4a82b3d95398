"""What a GPU records must not ask the host anything. Whether it does shows without a GPU, too."""
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice

import pytest, torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dd_lnl import core, dance, data, datm, derivatives, fused, implicit, networks, rcig, training, trajectories
from dd_lnl.core import LabelledImages, Space, generator
from dd_lnl.fused_cpu import plain_layers
from dd_lnl.device import Graphed, flatten_nest, lowered, precision, send

# Operations that give a value, or a shape that depends on one.
READS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "unique2"}
C = 10


def tensors_of(nest): return [t for t in tree_leaves(nest) if isinstance(t, torch.Tensor)]


class AsksHost(Exception):
    "An operation makes the card wait for the host, or the host for the card."


class NoHost(TorchDispatchMode):
    "Refuses what cannot be recorded: reading a value, a shape that depends on one, and tensors of two devices."
    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        name = op._schema.name.split("::")[1]
        tensors = tensors_of((args, out))
        by_mask = name == "index" and any(t.dtype == torch.bool for t in tensors[1:])
        if name in READS or by_mask:
            raise AsksHost(f"{name} asks for a value")
        if name.startswith("lift_fresh") or len({t.device.type for t in tensors if t.ndim}) > 1:
            raise AsksHost(f"{name} copies from the host")
        return out


@pytest.fixture
def card():
    "Tensors are made on the device cuda and have no values, so no GPU is needed; nor can they go through autograd."
    core.per_channel.cache_clear()
    with FakeTensorMode(), torch.device("cuda"):
        yield
    core.per_channel.cache_clear()


def recorded(f, *args):
    "Runs f as a recording does: once to warm up, once watched."
    f(*args)
    with NoHost():
        return f(*args)


def recorded_here(f, *args):
    "The same on the CPU, where autograd works. What f makes without saying on which device is elsewhere, and fails."
    f(*args)
    with NoHost(), torch.device("meta"):
        return f(*args)


def net_of(**kwargs):
    net = networks.convnet((3, 8, 8), C, depth=2, width=4, **kwargs)
    return net.requires_grad_(False), torch.randn(networks.n_parameters(net))


def test_the_watch_sees(card):
    x = torch.ones(3)
    for f, error, message in [
            (lambda: x.sum().item(), DataDependentOutputException, "_local_scalar_dense"),
            (lambda: x[x > 0], DynamicOutputShapeException, "nonzero"),
            (lambda: torch.eye(3, device="cpu").to(x), AsksHost, "_to_copy copies from the host"),
            (lambda: x.new_tensor([1., 2.]), AsksHost, "lift_fresh copies from the host")]:
        with pytest.raises(error, match=message):
            recorded(f)
    assert recorded(lambda: x.new_ones(2)).is_cuda


def test_the_watch_sees_here():
    x = torch.ones(3)
    for f, message in [
            (lambda: x.sum().item(), "_local_scalar_dense asks for a value"),
            (lambda: x[x > 0], "index asks for a value"),
            (lambda: x @ torch.eye(3), "mm copies from the host"),
            (lambda: x.new_tensor([1., 2.]), "lift_fresh copies from the host")]:
        with pytest.raises(AsksHost, match=message):
            recorded_here(f)
    assert len(recorded_here(lambda: x.new_ones(2))) == 2


@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_training(loss, dtype):
    net, theta = net_of()
    x, y = torch.rand(2, 5, 3, 8, 8), torch.rand(2, 5, C)
    with lowered(dtype):
        g = recorded_here(partial(training.gradients, net, loss), torch.stack([theta] * 2), x, y)
    assert g.shape == (2, len(theta)) and g.dtype == torch.float32


@pytest.mark.parametrize("space", [
    Space("channels", (.5, .4, .3), (.2, .2, .2)),
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
    gradients = partial(datm.matching_gradients, net, how=how, reuse=reuse)
    with lowered(dtype):
        matching = recorded(gradients, theta, theta + 1, batches, torch.tensor(.01))
    assert [(g.dtype, g.device.type) for g in matching.images] == [(torch.float32, "cuda")] * 3


def test_rcig(card):
    net, theta = net_of(norm=None, growth=2, activation=partial(torch.nn.Softplus, beta=60., threshold=40.))
    config = rcig.preset("cifar10", 1)
    x, y = rcig.mirrored(torch.rand(C, 3, 8, 8), torch.rand(C, C), config)
    traces, A = [derivatives.trace(net, theta, x)[1]], torch.rand(len(x), len(x), dtype=torch.float64)
    features = traces[0][-1].double()
    S = implicit.Support(net, theta, x, y.double(), features, A, 0., 1e-6, True, True, traces,
                         implicit.all_images)
    real, labels = torch.rand(6, 3, 8, 8), torch.zeros(6, dtype=torch.int64)
    step_sizes = list(torch.rand(2, dtype=torch.float64))
    loss, direct, indirect, path = recorded(rcig.outer_gradients, S, torch.zeros(()), real, labels, step_sizes)
    assert path.shape == (20,) and direct[0].shape == (C, 3, 8, 8) == indirect[0].shape
    recorded(partial(rcig.regression_gradient, net), theta, x, y)


@pytest.mark.parametrize("kwargs", [{}, dict(norm=None), dict(activation=torch.nn.Softplus)])
@pytest.mark.parametrize("side", [8, 10]) # ten pixels: the second block has an odd side
def test_fused_blocks(kwargs, side, monkeypatch):
    "The walk over the blocks, with the kernel's plain counterpart in its place."
    def plain(x, gain, bias, eps, dtype): return fused.plain_norm_relu_pool(x, gain, bias, eps).to(dtype or x.dtype)
    monkeypatch.setattr(fused, "works", lambda device: True)
    monkeypatch.setattr(fused, "norm_relu_pool", plain)
    body, x = networks.convnet((3, side, side), C, depth=2, width=4, **kwargs).body, torch.randn(5, 3, side, side)
    torch.testing.assert_close(body.fused(x), body(x))
    monkeypatch.setattr(fused, "works", lambda device: False)
    with plain_layers():
        assert torch.equal(body.fused(x), body(x))


class NeverWaits(TorchDispatchMode):
    "Refuses a copy that the host waits for. The device meta stands in for the card: a value of it cannot be read."
    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        here = {t.device.type for t in tensors_of((args, out)) if t.ndim}
        sent = op._schema.name == "aten::_to_copy" and (kwargs or {}).get("non_blocking")
        if len(here) > 1 and not sent:
            raise AsksHost(f"{op._schema.name} waits for the card")
        return out


def test_the_watch_sees_waiting():
    x, there = torch.ones(3), torch.ones(3, device="meta")
    for f, error, message in [
            (lambda: x.to("meta"), AsksHost, "_to_copy waits for the card"),
            (lambda: there[torch.tensor([0, 1])], AsksHost, "index waits for the card"),
            (lambda: there.copy_(x), AsksHost, "copy_ waits for the card"),
            (lambda: float(there.sum()), RuntimeError, "cannot be called on meta tensors")]:
        with pytest.raises(error, match=message), NeverWaits():
            f()
    with NeverWaits():
        send(x, "meta")


@pytest.fixture
def afar(monkeypatch):
    "A data set on the card that is meta, where everything takes the way that it takes on a GPU."
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda t: t.is_meta))
    monkeypatch.setattr(networks, "autocast", lambda x: nullcontext()) # knows no such device
    monkeypatch.setattr(fused, "works", lambda device: False)
    monkeypatch.setattr(Graphed, "__call__", lambda self, *args: self.f(*args))
    images, space = torch.empty(40, 1, 8, 8, device="meta"), Space("channels", (.5,), (.2,))
    return LabelledImages(images, torch.arange(40) % C, tuple("0123456789"), space)


def test_dance_never_waits(afar):
    train, config = afar, dance.preset("digits", 2)
    net, S = dance.encoder(train, config)().to("meta"), torch.empty(C, 2, 1, 8, 8, device="meta")
    parts = [partial(f, train, net, config, C) for f in (dance.inner_gradient, dance.calibration_gradient)]
    experts = torch.empty(config.n_experts, 2, networks.n_parameters(net), device="meta")
    displaced = dance.displacements(.5, C, S)
    for draws in islice(dance.iteration_draws(train, config, generator(0, "luck")), 3):
        with NeverWaits():
            S = dance.iterate(S, S, draws, experts, *parts, .5, .1, displaced)[0]
    assert S.shape == (C, 2, 1, 8, 8)


@pytest.mark.parametrize("policy", ["datm", "rcig"])
def test_datm_never_waits(policy, afar):
    config = datm.preset("digits", 2, batch_syn=15, policy=policy)
    net = datm.make_net(afar, config.expert)().to("meta").requires_grad_(False)
    S, Y = torch.empty(20, 1, 8, 8, device="meta"), torch.empty(20, C, device="meta")
    state, ends = datm.first_state(config, S, Y, []), torch.rand(2, networks.n_parameters(net))
    state = {k: v.to("meta") if isinstance(v, torch.Tensor) else v for k, v in state.items()}
    draws = datm.draw_iteration(config, 0, 0, 20, 1, (8, 8))
    with NeverWaits():
        g = datm.synthetic_gradients(S, state["logits"], state["lr"], *ends, draws.batches, draws.augmentations,
                                     partial(datm.matching_gradients, net))
        assert datm.update(state, g, config)["images"].shape == S.shape


@pytest.mark.parametrize("subset", [None, 7])
def test_rcig_never_waits(subset, afar, monkeypatch):
    # without its one question, whether there is a factor
    monkeypatch.setattr(implicit, "factor", lambda K, lam: (torch.linalg.cholesky_ex(K)[0], 0.))
    config = rcig.preset("digits", 2, subset=subset, max_age=1)
    net = rcig.learner(afar, config)().to("meta").requires_grad_(False)
    state = rcig.first_state(afar, config, 0) | {"step_sizes": [.01, .01]}
    train = replace(afar, labels=afar.labels.to("meta"))
    regression = partial(rcig.regression_gradient, net)
    with NeverWaits(), torch.no_grad():
        rcig.iterate(state, 0, net, train, config, 0, rcig.outer_gradients, regression)
    assert max(state["ages"]) == 0 and state["psi"][0].is_meta # a model was replaced, too


@pytest.mark.parametrize("recipe", [
    training.Recipe(2, 16, policy="dance_eval", mix=1.),
    training.Recipe(2, 16, policy="rcig", optimiser="adam", loss="mse")])
def test_training_never_waits(recipe, afar, tmp_path):
    (net, theta), rngs = net_of(), [generator(0, k) for k in range(2)]
    x, y, thetas = (torch.empty(*shape, device="meta") for shape in ((40, 3, 8, 8), (40, C), (2, len(theta))))
    net = net.to("meta")
    patient = training.Checkpoint(tmp_path/"fit.pt", every=3600.)
    patient.save = patient.save_if_due # the last save, too, is not due: it would read
    with NeverWaits():
        assert training.fit(net, thetas, x, y, recipe, rngs, checkpoint=patient).shape == (2, len(theta))
    config = trajectories.preset("digits", epochs=2, keep=1, policy="datm")
    with NeverWaits():
        assert trajectories.train_experts(net, thetas, x, y, config, rngs).shape == (2, 3, len(theta))


class Enough(Exception):
    "Ends a loop from inside."


def test_the_loop_of_a_distillation_reads_only_what_it_logs():
    def iterate(i):
        if i == 9: # the tenth iteration would be logged, and a value of meta cannot be read
            raise Enough
        return {"loss": torch.ones(3, device="meta").sum()}
    def run(done):
        log = {"iteration": [], "loss": [], "seconds": []}
        with NeverWaits():
            training.optimise({"done": done, "log": log}, iterate, 1000, progress=lambda done, n: None)
    with pytest.raises(Enough):
        run(1)
    with pytest.raises(RuntimeError, match="meta"): # the first is logged
        run(0)


SHORT = {"dance": dict(iterations=4, n_experts=1, expert=dict(epochs=1)), "rcig": dict(iterations=4),
         "datm": dict(iterations=4, max_start=2, first_max=2, expert=dict(n_experts=2, epochs=4, keep=4))}


def distilled(name, device="cpu"):
    "The images of a short distillation, experts included."
    module, train = {"dance": dance, "datm": datm, "rcig": rcig}[name], data.load("digits", device=device)[0]
    train = replace(train, space=data.space(name, "digits", train.images))
    config = module.preset("digits", 2, **SHORT[name])
    with precision("float32", device):
        return module.distil(train, config, rng=generator(0, "graphs")).images


def replayed(f, inputs):
    "What a CUDA graph does: the same work on the same addresses, whatever stands there by then."
    outputs = f(*inputs)
    def replay():
        new, old = [], []
        flatten_nest(f(*inputs), new)
        flatten_nest(outputs, old)
        for a, b in zip(old, new):
            a.copy_(b)
    return replay, outputs


@pytest.mark.parametrize("name", SHORT)
def test_replaying_changes_nothing(name, monkeypatch):
    plain, stand_ins = distilled(name), []
    def with_stand_in(self, f):
        self.f, self.record, self.records = f, replayed, {}
        stand_ins.append(self)
    monkeypatch.setattr(Graphed, "__init__", with_stand_in)
    assert torch.equal(distilled(name), plain)
    assert stand_ins
    assert all(1 <= len(graphed.records) <= 4 for graphed in stand_ins) # once a shape, not once an iteration


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.cuda
@NO_GPU
def test_the_fused_blocks_work_on_this_gpu(): assert fused.works(torch.device("cuda"))


@pytest.mark.cuda
@NO_GPU
@pytest.mark.filterwarnings("error") # a recording that fails says so in a warning
@pytest.mark.parametrize("name", SHORT)
def test_a_recorded_distillation_equals_a_plain_one(name, monkeypatch):
    recorded = distilled(name, "cuda")
    monkeypatch.setattr(Graphed, "__call__", lambda self, *args: self.f(*args))
    torch.testing.assert_close(recorded, distilled(name, "cuda"), atol=1e-3, rtol=1e-3)
