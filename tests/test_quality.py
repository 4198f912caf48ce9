"""The shipped digits config learns what it says, and the benchmark runs."""

import json
import statistics

from conftest import QUICKLY_COMPILED, run_python, train


def test_digits_reach_97_5_percent(tmp_path):
    accuracies = []
    for seed in range(5):
        done = train(tmp_path / str(seed), "--config=configs/digits.py", f"--config.seed={seed}")
        assert done.status == 0, done
        summary = json.loads((tmp_path / str(seed) / "summary.json").read_text())
        accuracies.append(summary["best"]["test"]["accuracy"])
    assert statistics.median(accuracies) >= 0.975, accuracies


def test_benchmark_writes_a_line_for_each_comparison(tmp_path):
    # Fewer steps than are worth a measurement.
    code = (
        "import runpy, sys; sys.path.insert(0, 'scripts'); from benchmarks import train;"
        "train._STEPS, train._EXAMPLES = 10, 1280;"
        "sys.argv[0] = 'scripts/benchmark.py'; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = run_python("-c", code, "train", "--rounds=1", f"--json={tmp_path / 'lines'}", XLA_FLAGS=QUICKLY_COMPILED)
    assert done.status == 0, done
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert len(lines) >= 4
    for line in lines:
        assert list(line) == ["benchmark", "case", "peer", "ours", "theirs", "ratio", "unit"]
        better = line["ours"] / line["theirs"] if line["unit"] == "steps/s" else line["theirs"] / line["ours"]
        assert line["ratio"] == better


def test_benchmark_of_another_name_is_refused():
    assert "give one benchmark: train, start" in run_python("scripts/benchmark.py", "trian").mistake()
