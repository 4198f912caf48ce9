"""Each experiment's rule on data with a known answer, the statistics, and what is kept."""

import importlib
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from conftest import ROOT, run_python
from tricks.config import Config
from tricks.errors import UserError
from tricks.lectures.common import experiment as experiments
from tricks.lectures.common import figures, page, results, statistics, training
from tricks.lectures.common.experiment import Effort, Experiment
from tricks.training.records import Record

_FILES = ("critical_points", "batches", "optimizers", "losses", "regularization")
KNOWN = {
    name: rows for file in _FILES for name, rows in importlib.import_module(f"lectures_known.{file}").KNOWN.items()
}
_CASES = [(name, verdict) for name, rows in KNOWN.items() for verdict in rows]


def _judged(name, verdict):
    # As it is read from its file.
    data = json.loads(json.dumps(KNOWN[name][verdict], sort_keys=True))
    return experiments.load(name), data


def test_every_experiment_has_data_of_both_verdicts():
    assert set(KNOWN) == set(experiments.NAMES)
    for name, rows in KNOWN.items():
        assert {"supported", "refuted"} <= set(rows) <= {"supported", "refuted", "inconclusive"}, name


@pytest.mark.parametrize(("name", "verdict"), _CASES)
def test_the_rule_finds_the_known_answer(name, verdict):
    experiment, data = _judged(name, verdict)
    found = experiment.judge(data)
    assert found.verdict == verdict
    assert found.interval[0] <= found.measured <= found.interval[1]
    assert found.sentence.endswith(".")
    assert found.effect
    assert (found.second is None) == (not experiment.claim.second_rule)
    json.dumps(dict(found.details))


@pytest.mark.parametrize("name", KNOWN)
def test_its_figure_has_names_of_a_legible_size(name, tmp_path):
    drawn = []

    def draw(data):
        drawn.append(experiment.draw(data))
        return drawn[-1]

    for verdict in KNOWN[name]:
        experiment, data = _judged(name, verdict)
        draw(data)
    figures.save(draw, data, tmp_path / name)
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / f"{name}.svg").stat().st_size > 1000
    panels = [axis for figure in drawn for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert all(axis.get_xlabel() for axis in panels)
    assert any(axis.get_ylabel() for axis in panels)
    texts = [text for axis in drawn[-1].axes for text in (axis.xaxis.label, axis.yaxis.label, axis.title)]
    assert all(text.get_fontsize() >= 11 for text in texts)


def test_a_mean_has_the_interval_of_student():
    values = [0.2, 0.5, 0.1, 0.9, 0.4]
    found = statistics.mean(values)
    interval = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    np.testing.assert_allclose(found, [np.mean(values), *interval], rtol=1e-12)
    assert statistics.mean([2.0]) == (2.0, -math.inf, math.inf)


def test_pairs_take_out_what_seeds_have_in_common():
    shared = np.array([1.0, 5.0, 9.0])
    assert statistics.difference(shared + 1, shared) == pytest.approx((1.0, 1.0, 1.0))
    assert statistics.ratio(3 * shared, shared) == pytest.approx((3.0, 3.0, 3.0))


def test_intervals_of_95_percent_hold_the_truth_that_often():
    generator = np.random.default_rng(0)
    means = [statistics.mean(generator.normal(1, 2, 6).tolist()) for _ in range(1000)]
    x = np.arange(12.0)
    slopes = [statistics.slope(x, 0.5 * x + generator.normal(size=12)) for _ in range(1000)]
    pairs = [generator.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 40).T for _ in range(500)]
    ranks = [statistics.rank_correlation(*pair) for pair in pairs]
    # Of normal numbers with correlation r the ranks have 6/pi asin(r/2).
    for found, truth in ((means, 1), (slopes, 0.5), (ranks, 6 / math.pi * math.asin(0.25))):
        covered = np.mean([one.low <= truth <= one.high for one in found])
        assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize(
    ("interval", "above", "below"),
    [
        ((1.1, 2.0), "supported", "refuted"),
        ((0.0, 1.0), "refuted", "inconclusive"),
        ((1.0, 2.0), "inconclusive", "refuted"),
        ((0.5, 1.5), "inconclusive", "inconclusive"),
        ((0.1, 0.9), "refuted", "supported"),
        ((-math.inf, math.inf), "inconclusive", "inconclusive"),
    ],
)
def test_a_verdict_needs_all_of_the_interval(interval, above, below):
    estimate = statistics.Estimate(0.0, *interval)
    assert statistics.decide(estimate, 1.0) == above
    assert statistics.decide(estimate, 1.0, above=False) == below
    assert statistics.decide(statistics.Estimate(math.nan, *interval), 1.0) == "inconclusive"


def test_one_part_that_is_refuted_refutes_the_claim():
    assert statistics.all_of(["supported", "supported"]) == "supported"
    assert statistics.all_of(["supported", "inconclusive"]) == "inconclusive"
    assert statistics.all_of(["refuted", "inconclusive", "supported"]) == "refuted"


_SOURCE = '''
"""What it is."""
from tricks.lectures.common import figures
from tricks.lectures.common.experiment import Claim, Judgement
STEPS = 3
CLAIM = Claim("title", "idea", "lecture", "rule")
def run(effort, note):
    note("running")
    ran.append(effort)
    return {"seeds": [0, 1], "examples": effort.images, "value": 1.5 * STEPS}
def judge(data):
    return Judgement("supported", data["value"], (data["value"], float("inf")), "effect", "It is so.")
def draw(data):
    figure, (axis,) = figures.new()
    axis.plot([0, data["value"]])
    return figure
'''


def _made(path, source):
    path.write_text(source)
    module = {"ran": []}
    exec(source, module)
    return Experiment("made", module["CLAIM"], *(module[n] for n in ("run", "judge", "draw")), str(path)), module["ran"]


def test_runs_are_kept_until_their_code_or_their_size_changes(tmp_path):
    def reproduce(source, quick=False):
        experiment, ran = _made(tmp_path / "made.py", source)
        effort = Effort(quick, "digits")
        result = results.reproduce(experiment, effort, tmp_path, lambda text: None, version="1")
        return result, len(ran)

    first, ran = reproduce(_SOURCE)
    assert (ran, first["measured"], first["interval"]) == (1, 4.5, [4.5, None])
    assert json.loads((tmp_path / "made" / "result.json").read_text()) == first
    assert first["data"] == "digits"
    picture = (tmp_path / "made" / "made.png").read_bytes()
    judged_otherwise = _SOURCE.replace('"supported"', '"refuted"').replace('"idea"', '"another"')
    again, ran = reproduce(judged_otherwise.replace("What it is", "What it was"))
    assert (ran, again["verdict"], again["idea"]) == (0, "refuted", "another")
    assert (tmp_path / "made" / "made.png").read_bytes() == picture
    assert reproduce(_SOURCE.replace("STEPS = 3", "STEPS = 4"))[1] == 1
    with pytest.raises(UserError, match=r"holds runs with quick=False, and these have quick=True: give another"):
        reproduce(_SOURCE, quick=True)
    (tmp_path / "made" / "data.json").write_text("{")
    with pytest.raises(UserError, match=r"data\.json is damaged .* remove it"):
        reproduce(_SOURCE)


def test_the_page_stands_alone_and_takes_nothing_for_markup(tmp_path):
    experiment = experiments.load("toy_saddle")
    effort = Effort(True, "digits")
    result = results.reproduce(experiment, effort, tmp_path, lambda text: None, version="1")
    written = page.page([{**result, "sentence": "<script>alert(1)</script>"}], tmp_path)
    assert "<script>" not in written
    assert "&lt;script&gt;" in written
    assert not re.findall(r'(?:src|href)="(?!data:image/png;base64,|#)', written)
    assert "1 claims: 1 supported, 0 refuted, 0 inconclusive" in written
    assert "quick runs" in written


def test_the_command_lists_runs_and_refuses(tmp_path):
    listed = run_python("scripts/reproduce.py", "--list")
    assert listed.status == 0
    assert re.findall(r"^  (\w+) ", listed.output, re.M) == list(experiments.NAMES)
    done = run_python("scripts/reproduce.py", "toy_saddle", "--quick", f"--workdir={tmp_path}")
    assert (done.status, done.error) == (0, "")
    assert done.output.startswith("toy_saddle: supported. ")
    assert {path.name for path in (tmp_path / "toy_saddle").iterdir()} == {
        "data.json",
        "result.json",
        "toy_saddle.png",
        "toy_saddle.svg",
    }
    for arguments, message in (
        (["toy_sadle"], r"there is no experiment 'toy_sadle'; did you mean toy_saddle\?"),
        (["zzz"], "there is no experiment 'zzz'; see --list"),
        ([], "no name is given; give one of --list, or all"),
        (["taylor", "warmup"], "2 names are given; give one of --list, or all"),
        (["--list", "taylor"], "--list takes no name"),
        (["all", "--workdir=gs://bucket"], "no address"),
    ):
        assert re.search(message, run_python("scripts/reproduce.py", *arguments).mistake())


@pytest.mark.parametrize("name", experiments.NAMES)
def test_the_docs_tell_of_the_claim_its_verdict_and_its_figure(name):
    text = (ROOT / "docs" / "lectures.md").read_text()
    claim = experiments.load(name).claim
    (row,) = [line for line in text.splitlines() if line.startswith("|") and f"](#{name})" in line]
    assert claim.title in row
    (verdict,) = set(re.findall(r"\| (supported|refuted|inconclusive) \|", row))
    assert f"**{claim.title}: {verdict}.**" in text
    assert claim.rule in text
    assert claim.second_rule in text
    assert f"images/lectures/{name}.png" in row
    assert (ROOT / "docs" / "images" / "lectures" / f"{name}.png").is_file()


def test_the_modules_that_runs_are_made_with_are_part_of_them():
    taken = {
        name: {path.stem for path in results._shared(Path(experiments.load(name).path))}
        for name in ("batch_norm", "toy_saddle")
    }
    assert taken == {"batch_norm": {"lanes", "noisy_normalization", "starts"}, "toy_saddle": set()}


@pytest.mark.parametrize("name", experiments.NAMES)
def test_values_that_are_not_finite_leave_it_open_and_end_nothing(name):
    def without(value):
        """The same with None for the first number of each list, and for each number that stands alone."""
        if isinstance(value, dict):
            return {key: without(one) for key, one in value.items()}
        if isinstance(value, list):
            return [without(value[0]), *value[1:]] if value else value
        return None if isinstance(value, float) else value

    experiment, data = _judged(name, "supported")
    judgement, draw = results._judged(experiment, without(data))
    assert judgement.verdict in ("inconclusive", "supported", "refuted")
    draw(without(data))


def test_a_mistake_in_a_rule_is_no_lack_of_numbers():
    experiment = experiments.load("toy_saddle")._replace(judge=lambda data: data["no such part"])
    with pytest.raises(KeyError):
        results._judged(experiment, {"seeds": [0]})


def test_a_run_that_diverged_has_no_measures():
    lines = [Record(0, 0, "validation", {"loss": 2.0, "accuracy": 0.1})]
    found = training.summary(Config(), "diverged", lines)
    assert (found["train_loss"], found["test_accuracy"], found["last_test_loss"]) == ([], None, None)


def test_the_page_holds_all_that_a_directory_has(tmp_path):
    experiment, effort = experiments.load("toy_saddle"), Effort(True, "digits")
    results.reproduce(experiment, effort, tmp_path, lambda text: None, version="1")
    page.write(tmp_path)
    assert "1 claims" in (tmp_path / page.FILE).read_text()
    assert not list(tmp_path.glob("*.tricks-tmp"))
