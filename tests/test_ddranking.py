"""An exported set in the hands of DD-Ranking, where that is installed; its pins contradict ours, so it comes alone:
pip install --target FOLDER --no-deps ddranking kornia kornia_rs timm huggingface_hub, and FOLDER on PYTHONPATH."""
import pytest, torch

from dd_lnl import exchange, networks
from dd_lnl.experiment import evaluated
from dd_lnl.setting import setting
from dd_lnl.store import distilled, experts, prepare
from dd_lnl.evaluation import evaluate


@pytest.mark.slow
def test_ddranking_trains_on_an_exported_set(tmp_path, monkeypatch):
    monkeypatch.setenv("DD_LNL_PROGRESS", str(tmp_path)) # no bars
    ranking = pytest.importorskip("ddranking.utils", reason="ddranking is not installed")
    from ddranking.loss import SoftCrossEntropyLoss
    s = setting(folder=str(tmp_path), distiller="datm", ipcs=[5], n_eval=1,
                           changes={"iterations": 10, "expert": {"n_experts": 1, "epochs": 22, "keep": 22}})
    ready = prepare(s)
    syn = distilled(s, ready, 5, experts(s, ready))
    evaluated(s, ready, 5, syn)
    to = exchange.export_set(s.home, s.cells[0].id, tmp_path/"out")
    images, labels, lr = (torch.load(to/f"{name}.pt", weights_only=True) for name in ("images", "labels", "lr"))
    assert torch.equal(labels.argmax(1), torch.arange(10).repeat_interleave(5)) and 0 < float(lr) < 1
    net = networks.convnet(ready.test.in_shape, 10, depth=2, width=32)
    loader = torch.utils.data.DataLoader(ranking.TensorDataset(images, labels), batch_size=50, shuffle=True)
    optimiser = torch.optim.SGD(net.parameters(), lr=float(lr), momentum=.9)
    for epoch in range(200):
        ranking.train_one_epoch(epoch, net, loader, SoftCrossEntropyLoss(), optimiser, device="cpu")
    with torch.no_grad():
        theirs = (net(ready.test.inputs()).argmax(1) == ready.test.labels).float().mean()
    assert abs(theirs - evaluate(syn, ready.test, "datm", n_eval=1)[0]) < .1
