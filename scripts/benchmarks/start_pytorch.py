"""The digits job of configs/digits.py as a plain PyTorch script: python start_pytorch.py DIRECTORY."""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

EPOCHS, BATCH, RATE, PATIENCE = 40, 32, 2e-3, 15


def main(directory: Path) -> None:
    """Trains, keeps the best weights, tests them, and draws the losses."""
    history, _ = train(directory, RATE, 0)
    mpl.use("Agg")
    from matplotlib import pyplot

    pyplot.plot(history, label=["train", "validation"])
    pyplot.legend()
    pyplot.savefig(directory / "curves.png", dpi=120)


def train(directory: Path, rate: float, seed: int) -> tuple[list[tuple[float, float]], float]:
    """One training; the losses of its epochs, and the best of the validation."""
    torch.manual_seed(seed)
    features, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(features))
    test, validation, train = np.split(order, [359, 359 + 144])
    mean = features[train].mean(axis=0)
    scale = np.sqrt(np.maximum(features[train].var(axis=0), features[train].var(axis=0).mean()))
    x = torch.tensor((features - mean) / scale, dtype=torch.float32)
    y = torch.tensor(targets)
    layers: list[nn.Module] = []
    for inputs in (64, 128):
        layers += [nn.Linear(inputs, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.2)]
    model = nn.Sequential(*layers, nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    steps = len(train) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * steps)
    loss_fn = nn.CrossEntropyLoss()
    history: list[tuple[float, float]] = []
    best, since_best = float("inf"), 0
    for epoch in range(EPOCHS):
        model.train()
        total, rows = 0.0, torch.tensor(np.random.default_rng((seed, epoch)).permutation(train))
        for step in range(steps):
            chosen = rows[step * BATCH : (step + 1) * BATCH]
            loss = loss_fn(model(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        model.eval()
        with torch.no_grad():
            outputs = model(x[validation])
            value = loss_fn(outputs, y[validation]).item()
        history.append((total / steps, value))
        print(f"epoch {epoch + 1}/{EPOCHS}  loss {total / steps:.4f}  val {value:.4f}")
        since_best += 1
        if value < best:
            best, since_best = value, 0
            torch.save(model.state_dict(), directory / "best.pt")
        if since_best >= PATIENCE:
            break
    model.load_state_dict(torch.load(directory / "best.pt"))
    with torch.no_grad():
        accuracy = (model(x[test]).argmax(dim=1) == y[test]).float().mean().item()
    print(f"test {accuracy:.2%}")
    return history, best


if __name__ == "__main__":
    main(Path(sys.argv[1]))
