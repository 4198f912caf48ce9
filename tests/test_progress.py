"""What a person sees fits a terminal of 80 columns, and plain output stays short."""

import io

import pytest

from tricks.training.progress import Bar, result_table
from tricks.training.records import Record


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _measures(loss, accuracy):
    return {"loss": loss} if accuracy is None else {"loss": loss, "accuracy": accuracy}


def _rates(learning_rate, examples_per_second):
    return {"gradient_norm": 1.0, "learning_rate": learning_rate, "examples_per_second": examples_per_second}


@pytest.mark.parametrize("accuracy", [1.0, 0.123456, None])
def test_bar_fits_80_columns(monkeypatch, accuracy):
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("sys.stdout", _Terminal())
    progress = Bar(steps_per_epoch=10, total_steps=1000, first_step=0)
    progress.show(Record(0, 0, "validation", _measures(2.5, accuracy)))
    for step in range(10, 1001, 10):
        progress.show(Record(step, step // 10, "train", _measures(3.14159, accuracy) | _rates(1.234e-3, 999_999.0)))
        progress.show(Record(step, step // 10, "validation", _measures(2.71828, accuracy)))
        progress._bar.refresh()
    progress.show(Record(10, 1, "test", _measures(2.0, accuracy)))
    assert progress._bar.n == 1000, "the bar never goes back"
    progress.close()
    lines = [line.strip() for line in terminal.getvalue().split("\r") if line.strip()]
    assert max(map(len, lines)) < 80
    assert "loss 3.142" in lines[-1]
    assert "val 2.718" in lines[-1]
    assert "rate 1.2e-03" in lines[-1]
    assert "1.0M ex/s" in lines[-1]


def test_plain_lines_are_about_twenty(monkeypatch, capsys):
    progress = Bar(steps_per_epoch=1, total_steps=173, first_step=0)
    for epoch in range(1, 174):
        progress.show(Record(epoch, epoch, "train", _measures(1.0, 0.5) | _rates(0.1, 100.0)))
        progress.show(Record(epoch, epoch, "validation", _measures(1.0, 0.5)))
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    assert 15 <= len(lines) <= 21
    assert lines[-1].startswith("epoch 173/173  loss 1.0000 50.00%  val 1.0000 50.00%  rate 1.0e-01  100 ex/s")


def test_table_of_a_regression_has_no_accuracy():
    table = result_table([Record(8, 1, "test", {"loss": 0.5})], ["loss"])
    assert "accuracy" not in table
    assert table.splitlines()[-1].split() == ["test", "0.5000", "8", "1"]
