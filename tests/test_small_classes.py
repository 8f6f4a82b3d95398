"""A class with fewer images than IPC: every way to make a set gives all of its images once before any twice."""
from dataclasses import replace

import pytest, torch
from dd_lnl import dance, data, datm, rcig
from dd_lnl.core import InputError, generator
from dd_lnl.methods import DISTILLERS
from dd_lnl.trajectories import make_net, pretrain

RARE, IPC = 3, 10 # the class, and the images asked for
EXPERT = {"n_experts": 1, "epochs": 3, "keep": 3}
SHORT = {"datm": {"iterations": 1, "syn_steps": 2, "first_max": 1, "max_start": 1, "min_start": 0, "expert": EXPERT},
         "dance": {"iterations": 1, "n_experts": 1, "expert": {"epochs": 1}}, "rcig": {"iterations": 1}, "random": {},
         **dict.fromkeys(["agreement", "relabelled", "selected"], {"expert": EXPERT})}
STARTS = ("datm", "datm random", "dance", "rcig")


def digits(n_rare: int):
    "The digits with so few images of one class."
    train, _ = data.load("digits")
    places = torch.cat([(train.labels != RARE).nonzero()[:, 0], (train.labels == RARE).nonzero()[:n_rare, 0]])
    return replace(train, images=train.images[places], labels=train.labels[places])


def times_used(images, train) -> list:
    "How often each image of the rare class is among those of a set that stand for it."
    own = train.images[train.labels == RARE].flatten(1)
    images = train.space.decode(images[RARE * IPC:(RARE + 1) * IPC]).flatten(1)
    distance, nearest = torch.cdist(images, own).min(1)
    assert distance.max() < 1e-3
    return nearest.bincount(minlength=len(own)).tolist()


def says_so(notes: list) -> bool: return any(f"class {RARE} has 2 observed images" in note for note in notes)


def distilled(name: str, train, pretrained_on=None):
    "The set of a method, with experts that are trained before."
    distiller = DISTILLERS[name]
    config = distiller.preset("digits", IPC, **SHORT[name])
    rng = generator(0, "small classes")
    experts = distiller.pretrain and distiller.pretrain(pretrained_on or train, config, rng=rng)
    return distiller.distil(train, config, experts=experts, rng=rng)


def start(name: str, train):
    "The images that a distiller starts from (n, channels, H, W), and its notes."
    name, _, init = name.partition(" ")
    changes = SHORT[name] | ({"init": init} if init else {})
    config = DISTILLERS[name].preset("digits", IPC, **changes)
    rng = generator(0, "small classes")
    if name == "datm":
        experts = pretrain(train, config.expert, rng=rng)
        images, _, notes = datm.first_set(train, config, experts, make_net(train, config.expert)(), rng)
    elif name == "dance":
        images, notes = dance.first_images(train, config, rng)
        images = images.flatten(0, 1)
    else:
        images, _, notes = rcig.first_images(train, config, rng)
    return images, notes


@pytest.mark.parametrize("name", STARTS)
def test_a_distiller_starts_from_every_image(name):
    train = digits(2)
    images, notes = start(name, train)
    assert min(times_used(images, train)) >= 1
    assert says_so(notes) and not says_so(start(name, digits(IPC))[1]) # nothing is repeated where there are enough


@pytest.mark.parametrize("name", ["random", "agreement", "selected", "relabelled"])
def test_a_control_takes_every_image_as_often(name):
    train = digits(2)
    syn = distilled(name, train)
    assert times_used(syn.images, train) == [5, 5] and says_so(syn.log["notes"])


@pytest.mark.parametrize("name", DISTILLERS)
def test_it_is_distilled_to_the_end(name):
    syn = distilled(name, digits(2))
    assert syn.images.shape[0] == 10 * IPC and syn.images.isfinite().all() and syn.targets.isfinite().all()


@pytest.mark.parametrize("name", DISTILLERS)
def test_an_empty_class_is_refused(name):
    with pytest.raises(InputError, match="No image has the observed label 3"):
        distilled(name, digits(0), pretrained_on=digits(2))
