"""Made-up records from a rule that says how accurate a set is. No record of a profile comes from here."""
from itertools import product

import numpy as np
import pandas as pd

METHODS = ("datm", "dance", "rcig")


def record(distiller, tau, ipc, seed, mean, **fields):
    "One made-up record."
    made = dict(dataset="digits", noise="sym", tau=tau, tau_hat=.4 if tau is None else tau, distiller=distiller,
                protocol=distiller, ipc=ipc, seed=seed, n=5, mean=mean + .001 * seed, std=.01, identifiable=True,
                n_train=1000, n_classes=10, device="a laptop", wall_s=5., distil_s=1., experts_s=0.)
    return made | fields


def frame_of(records):
    "Records as `results.load` gives them."
    return pd.DataFrame(records).astype({"ipc": "Int64", "tau": float})


def world(score, # (distiller, tau, ipc) -> accuracy, a fraction
          taus=(.2, .4, .6, .8), sizes=(1, 10, 50), methods=METHODS, seeds=(0, 1, 2),
          jitter=0., # standard deviation of every set across seeds
          draw=0, # which jitter
          **fields): # of every record
    """Sets as accurate as `score` says.

    The full data reach 60 % at the last epoch, 70 % after equal updates, 80 % at the chosen epoch, and 85 % under
    a distiller's recipe.
    """
    draws = np.random.default_rng(draw)
    records = []
    for tau, seed in product(taus, seeds):
        full = dict(wall_s=50., equal_updates_mean=.7 + .001 * seed, equal_updates_std=.01, noisy_val_mean=.8,
                    noisy_val_std=.01)
        records.append(record("full", tau, None, seed, .6, **full | fields))
        for method in methods:
            records.append(record("full", tau, None, seed, .85, **fields | dict(protocol=method)))
    for method, tau, ipc, seed in product(methods, taus, sizes, seeds):
        mean = score(method, tau, ipc) + .002 * (seed == 1) + jitter * draws.normal()
        records.append(record(method, tau, ipc, seed, mean, **fields))
    return frame_of(records)


def always(accuracy):
    "A score: everybody is as good everywhere."
    return lambda method, tau, ipc: accuracy


def from_size(smallest): # (method, tau) -> IPC
    "A score: 90 % from a size on, 30 % below."
    return lambda method, tau, ipc: .9 if ipc >= smallest(method, tau) else .3


def only(*names):
    "A score: 90 % for these methods, 30 % for others."
    return lambda method, tau, ipc: .9 if method in names else .3
