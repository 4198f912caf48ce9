"""The page of a diagnosis and its short form: from any report, and taking nothing of it for markup."""

import copy
import functools
import html.parser
import itertools
import re
import subprocess
import xml.etree.ElementTree as ElementTree

import diagnosis_reports
import numpy as np
import pytest

from conftest import ROOT
from tricks.diagnosis.report import (
    commands,
    curvature_pictures,
    decision_tree,
    evidence,
    layer_pictures,
    pictures,
    reading,
    svg,
    training_pictures,
    words,
)
from tricks.diagnosis.report.page import page
from tricks.diagnosis.report.terminal import terminal

FINDINGS = set(
    """
    healthy model_bias overfitting mismatch label_noise leakage class_imbalance undertrained rate_too_large
    rate_too_small saddle degenerate_plateau minimum stuck_not_critical unlucky_start vanishing_gradients
    exploding_gradients dead_units saturated_units bad_initialization unscaled_features saturated_loss over_regularized
    batch_too_large non_finite
    """.split()  # noqa: SIM905
)
NASTY = """</svg></style>"><script src=http://x.y/z>alert('1')</script>&amp;{{ 7 * 7 }}$x_{$\x1b[31m\x00\ud800 数据"""
_VOID = {"meta", "link", "br", "hr", "img", "input"}
every_report = pytest.mark.parametrize("name", diagnosis_reports.NAMES)


class _Parsed(html.parser.HTMLParser):
    """Tags in order with their attributes, and the text of each; raises where they do not balance."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.texts, self._open = [], [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), f"an attribute of {tag} is there twice"
        self.tags.append((tag, dict(attributes)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert "svg" in self._open, f"<{tag}/> is HTML of no kind"
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self._open[-1] if self._open else "", data))

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def within(self, tag):
        return " ".join(" ".join(data for name, data in self.texts if name == tag).split())


@pytest.fixture(scope="module")
def pages():
    return {name: page(diagnosis_reports.report(name)) for name in ("overfitting", "vanishing_gradients", "non_finite")}


@pytest.fixture
def without_pictures(monkeypatch):
    """Pages without pictures, which take nearly all of their time."""
    monkeypatch.setattr(pictures, "draw", lambda report: [])


def _figure(make, report, **options):
    with svg.settings():
        return make(reading.cleaned(report), **options)


def _check(text: str) -> _Parsed:
    parsed = _Parsed(text)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    values = [value for _, attributes in parsed.tags for value in attributes.values() if value]
    named = {found for value in values for found in re.findall(r"url\(#([^)]+)\)", value)}
    for _, attributes in parsed.tags:
        assert not {name for name in attributes if name.startswith("on")}
        for key in ("href", "src", "xlink:href"):
            if key in attributes:
                assert attributes[key].startswith("#"), attributes
                named.add(attributes[key][1:])
        named |= {attributes["aria-labelledby"]} if "aria-labelledby" in attributes else set()
    assert named <= set(ids)
    assert not {"script", "iframe", "link", "object", "base"} & {tag for tag, _ in parsed.tags}
    assert "url(" not in re.sub(r"url\(#", "", text)
    assert "@import" not in text
    return parsed


def test_pages_are_whole_and_need_nothing_else(pages):
    for name, text in pages.items():
        parsed = _check(text)
        assert text.startswith("<!doctype html>\n<html lang=")
        assert "http://" not in text
        assert "https://" not in text
        assert len(text.encode()) < 1_000_000
        pictured = parsed.named("svg")
        assert len(pictured) == text.count("<figure>") == {"overfitting": 7, "vanishing_gradients": 5}.get(name, 4)
        assert all(attributes["role"] == "img" and len(attributes["aria-label"]) > 30 for attributes in pictured)
        for found in re.findall(r"<svg.*?</svg>", text, re.S):
            root = ElementTree.fromstring(found)
            assert root.tag == "svg"
            # Every color is the page's, or of a scale, or white and black around a mark.
            assert not set(re.findall(r"#0[1-8]\d{4}\b", found))
            assert "var(--ink)" in found
            assert "<style" not in found
            assert "font-family" not in found


def test_the_same_report_gives_the_same_page(pages):
    assert page(diagnosis_reports.report("non_finite")) == pages["non_finite"]


def test_what_comes_first_stands_first(pages):
    text = pages["overfitting"]
    ids = re.findall(r'id="(others|tree|pictures|measurements|next|not-judged)"', text)
    assert ids == ["others", "tree", "pictures", "measurements", "next"]
    parsed = _Parsed(text)
    assert parsed.within("h1") == "The model knows its training examples by heart"
    assert text.index("<h1>") < text.index("almost certain, 93 %") < text.index('class="lead"') < text.index("others")
    headings = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
    assert parsed.within("del") == "A smaller model."
    lines = re.findall(r"<pre.*?><code>(.*?)</code></pre>", text)
    assert [re.sub("<.*?>", "", command).split("128,128 ")[1] for command in lines] == [
        "--config.model.dropout=0.5",
        "--config.early_stopping.enabled=true --config.early_stopping.patience=3",
    ]
    assert [word for word, _ in re.findall(r"<b>(\S) tried(.*?)</b>", text)] == ["✓", "✗"]
    assert "Not judged" in pages["non_finite"]


@every_report
def test_the_short_form_fits_a_terminal_and_says_the_verdict(name):
    report = diagnosis_reports.report(name)
    text = terminal(report)
    assert max(map(len, text.splitlines())) <= 80
    verdict, *others = report["findings"]
    said = " ".join(text.split())
    assert words.title(verdict["name"]) in said.partition(verdict["evidence"][0])[0]
    assert all(words.title(finding["name"]) in said for finding in others)
    assert all(sentence in said for sentence in report["not_judged"])
    withdrawn = [one for one in commands.prescriptions(reading.cleaned(report)) if one["withdrawn"]]
    assert not any(one["sentence"] in said for one in withdrawn)
    assert bool(withdrawn) == (name == "overfitting")


def _spoiled(value, key=None):
    """All texts made nasty, and the names that are a person's own."""
    if isinstance(value, dict):
        own = key in ("counts", "gradient_norms", "update_ratios", "overrides")
        return {f"{name} {NASTY}" if own else name: _spoiled(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_spoiled(part) for part in value]
    return f"{value} {NASTY}" if isinstance(value, str) else value


def test_nothing_of_a_report_is_markup(pages):
    report = _spoiled(diagnosis_reports.report("overfitting"))
    parsed = _check(page(report))
    plain = _check(pages["overfitting"])
    shown = NASTY.replace("\x1b", "\ufffd").replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    # A name that is none of those known has spaces for its underscores.
    assert shown.replace("_", " ") in parsed.within("h1")
    assert shown in parsed.within("li")
    assert [tag for tag, _ in parsed.tags if tag in ("svg", "h2", "h3", "table", "li")] == [
        tag for tag, _ in plain.tags if tag in ("svg", "h2", "h3", "table", "li")
    ]
    # In pictures, names of layers and of comparison runs.
    drawn = [data for tag, data in parsed.texts if tag == "text"]
    assert sum("…" in data and data.endswith("数据") for data in drawn) >= 10
    text = terminal(report)
    assert all(c.isprintable() for c in text.replace("\n", ""))
    assert max(sum(2 if c in "数据" else 1 for c in line) for line in text.splitlines()) <= 80


def test_a_command_of_several_lines_is_the_same_for_a_shell():
    values = {"data.name": 90 * "x", "model.build": 'it\'s "a" long ' + 30 * "'", "train.epochs": 3, "a.b": 50 * "数"}
    finding = {"name": "saddle", "prescription": [{"sentence": "This.", "overrides": values}]}
    text = terminal({"run": {"command": "printf %s\\\\n --workdir 'a b' --config=digits"}, "findings": [finding]})
    lines = text.partition("This.\n")[2]
    assert max(sum(2 if c == "数" else 1 for c in line) for line in lines.splitlines()) <= 80
    shell = subprocess.run(["sh", "-c", lines], capture_output=True, text=True, check=True)
    assert shell.stdout.splitlines() == ["--config=digits", *(f"--config.{field}={v}" for field, v in values.items())]


def _paths(value, path=()):
    """Every place of a report with what is there, of each list the first."""
    if path:
        yield path, value
    parts = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, part in parts:
        yield from _paths(part, (*path, key))


def _quadrature(value):
    return {"nodes": [[value]], "weights": [[1.0]]}


def _short(value):
    if isinstance(value, dict):
        return {name: _short(part) for name, part in value.items()}
    return [_short(part) for part in value[:3]] if isinstance(value, list) else value


_DRAWN_OF = {
    **dict.fromkeys(("task", "curves", "origin"), (functools.partial(training_pictures.curves, measure="loss"),)),
    **dict.fromkeys(("gaps", "comparisons"), (training_pictures.comparisons,)),
    "layers": (layer_pictures.gradients, layer_pictures.units),
    "curvature": (curvature_pictures.spectrum, curvature_pictures.surface),
}


def _without(report, paths):
    """A copy in which parts are None, of a list left out."""
    report = copy.deepcopy(report)
    for *way, last in paths:
        place = report
        for key in way:
            place = place[key]
        if isinstance(place, dict):
            place[last] = None
        else:
            del place[last]
    return report


def test_any_part_may_be_missing(without_pictures):
    whole = _short(diagnosis_reports.report("overfitting"))
    whole["measurements"]["origin"] = diagnosis_reports.report("non_finite")["measurements"]["origin"]
    parts = [(path, value) for path, value in _paths(whole) if "best" not in path]
    # Those that hold others one at a time, of the others every ninth at once.
    alone = [[path] for path, value in parts if isinstance(value, dict | list)]
    leaves = [path for path, value in parts if not isinstance(value, dict | list)]
    assert len(alone) > 50
    assert len(leaves) > 100
    for paths in (*alone, *(leaves[first::9] for first in range(9))):
        report = _without(whole, paths)
        page(report)
        terminal(report)
        makers = {make for path in paths if len(path) > 1 for make in _DRAWN_OF.get(path[1], ())}
        for make in makers:
            _figure(make, report)


def test_nothing_is_a_report_too():
    for report in ({}, {"version": 1, "run": {}, "findings": [], "path": [], "measurements": {}, "not_judged": []}):
        parsed = _check(page(report))
        assert parsed.within("h1") == words.NO_FINDING
        assert not parsed.named("svg")
        assert terminal(report) == f"run: {words.NO_FINDING}"


def test_none_is_as_good_as_missing():
    report = diagnosis_reports.report("foreign")
    without = {**report, "run": {name: value for name, value in report["run"].items() if value is not None}}
    assert without["run"] != report["run"]
    assert page(without) == page(report)


def test_every_finding_has_a_title_and_one_place_in_the_tree():
    assert set(words.TITLES) == FINDINGS
    assert len(FINDINGS) == 25
    assert sorted(decision_tree.names_below(decision_tree.TREE)) == sorted(FINDINGS)
    for name, title in words.TITLES.items():
        assert " " in title, name
        assert "_" not in title
        assert len(title) < 60


@pytest.mark.parametrize("name", sorted(FINDINGS))
def test_a_verdict_without_a_path_has_its_way(name):
    steps = decision_tree.way({"findings": [{"name": name}]})
    left_out = [other for step in steps for others in step["others"] for other in others["names"]]
    assert name not in left_out
    # All others are left out but those that the last answer holds too.
    question = decision_tree.TREE
    for step in steps:
        question = question.answers[step["answer"]]
    assert {*left_out, *question} == FINDINGS


def test_a_path_says_what_it_left_out_as_far_as_the_tree_knows():
    steps = decision_tree.way(reading.cleaned(diagnosis_reports.report("saddle")))
    assert [step["answer"] for step in steps] == ["yes", "yes", "yes", "no", "yes", "both"]
    assert steps[2]["others"] == [{"answer": "no", "names": ["overfitting", "mismatch", "healthy"]}]
    assert steps[2]["because"].startswith("0.84")
    assert steps[-1]["others"] == []
    assert decision_tree.way(reading.cleaned(diagnosis_reports.report("foreign")))[0]["others"] == []


def test_curves_are_those_of_the_report():
    report = diagnosis_reports.report("non_finite")
    picture = _figure(training_pictures.curves, report, measure="loss")
    (axis,) = picture.figure.axes
    lines = {line.get_label(): line.get_ydata() for line in axis.lines}
    np.testing.assert_array_equal(lines["training"], [2.3, 31.0, 8e4, np.nan])
    np.testing.assert_array_equal(lines["validation"], [2.4, 60.0, 3e5, np.nan])
    assert lines["chance"][0] == 2.3026
    assert axis.lines[-1].get_xdata()[0] == 4
    assert axis.get_yscale() == "log"
    assert picture.caption.startswith("Training loss goes from 2.3 to 8e+04")
    assert _figure(training_pictures.curves, report, measure="accuracy") is None


def test_the_map_of_gradients_holds_each_layer_and_epoch():
    report = diagnosis_reports.report("vanishing_gradients")
    picture = _figure(layer_pictures.gradients, report)
    axis, bar = picture.figure.axes
    cells = axis.collections[0].get_array()
    assert cells.shape == (12, 21)
    assert cells.mask[0].all()
    assert not cells.mask[1:].any()
    assert cells[11, 0] == pytest.approx(0.1)
    assert cells[3, 20] == pytest.approx(1e-10)
    assert [text.get_text() for text in axis.texts] == 21 * ["0"]
    assert [label.get_text() for label in axis.get_yticklabels()][:2] == ["Dense_0", "Dense_1"]
    assert axis.yaxis_inverted()
    low, high = bar.get_xlim()
    assert low <= 1e-12
    assert high >= 0.1
    assert picture.caption == "In epoch 20 from 0 (Dense_0) to 0.01 (Dense_11). 0: no gradient at all."
    report["measurements"]["layers"]["history"] *= 9
    assert _figure(layer_pictures.gradients, report).figure.axes[0].collections[0].get_array().shape[1] <= 24


def test_units_are_shares_or_counts():
    units = [{"dead_units": 2}, {"dead_units": 1.0}, {}]
    rows = [{"name": name, "units": 8, **row} for name, row in zip("ABC", units, strict=True)]
    report = {"measurements": {"layers": {"last": {"activations": rows}}}}
    picture = _figure(layer_pictures.units, report)
    start, end = picture.figure.axes[0].lines
    np.testing.assert_array_equal(end.get_xdata(), [25.0, 100.0, np.nan])
    assert np.isnan(start.get_xdata()).all()
    assert picture.caption == "Dead at the end: at most 100 % of a layer (B)."


def test_comparison_runs_stand_beside_the_run():
    picture = _figure(training_pictures.comparisons, diagnosis_reports.report("overfitting"))
    (axis,) = picture.figure.axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names[:3] == ["this run", "linear", "wider, deeper"]
    train, own, validation, _ = axis.lines
    assert train.get_xdata()[:3] == pytest.approx([0.0021, 0.14 * 1.1, 0.0004 * 1.1])
    assert validation.get_xdata()[:2] == pytest.approx([1.18, 0.41 * 1.05])
    assert own.get_xdata()[0] == 0.0021
    # The spread over seeds.
    assert axis.collections[0].get_segments()[1][:, 0] == pytest.approx([0.14, 0.14 * 1.2])
    diverged = names.index("10 times the rate")
    assert [(text.get_text(), text.get_position()[1]) for text in axis.texts] == [("diverged", diverged)]


def test_the_spectrum_marks_what_the_rate_bears():
    picture = _figure(curvature_pictures.spectrum, diagnosis_reports.report("rate_too_large"))
    marked = {line.get_label(): line.get_xdata()[0] for line in picture.figure.axes[0].lines[1:]}
    # η·λmax is 15.5 and may be 2.
    limit = pytest.approx(31 * 2 / 15.5)
    assert marked == {"zero": 0, "smallest -0.4": -0.4, "largest 31": 31.0, "stable up to 4": limit}


_LOSS = functools.partial(training_pictures.curves, measure="loss")


@pytest.mark.parametrize(
    ("make", "measurements"),
    [
        (_LOSS, {"curves": {"epochs": [{"epoch": i, "train_loss": 10.0 ** (50 * i - 300)} for i in range(12)]}}),
        (
            _LOSS,
            {"curves": {"epochs": [{"epoch": i, "train_loss": 1.0} for i in (1, 2)]}, "task": {"chance_loss": 0.0}},
        ),
        (
            training_pictures.comparisons,
            {"comparisons": [{"name": "x", "train_loss": 1e300, "validation_loss": 1e-320}]},
        ),
        (layer_pictures.gradients, {"layers": {"history": [{"gradient_norms": {"a": 1e300, "b": 1e-300, "c": 0.0}}]}}),
        (curvature_pictures.spectrum, {"curvature": {"smallest": 3, "largest": 3, "spectrum": _quadrature(3.0)}}),
        (
            curvature_pictures.spectrum,
            {"curvature": {"smallest": -1e-30, "largest": 1e-30, "spectrum": _quadrature(9.0)}},
        ),
    ],
)
def test_numbers_at_the_edge_can_be_drawn(make, measurements):
    with svg.settings():
        picture = make(reading.cleaned({"measurements": measurements}))
        assert "<path" in svg.rendered(picture.figure, name=picture.name, label=picture.caption)


def test_a_flat_surface_is_not_drawn():
    flat = {"first": [-1, 0, 1], "second": [-1, 0, 1], "losses": [[1.0] * 3] * 3}
    assert _figure(curvature_pictures.surface, {"measurements": {"curvature": {"surface": flat}}}) is None


def test_the_surface_marks_the_weights_and_the_lowest_place():
    report = diagnosis_reports.report("saddle")
    found = report["measurements"]["curvature"]["surface"]
    found["losses"][12][24] = 1e-3
    found["losses"][0][0] = None
    picture = _figure(curvature_pictures.surface, report)
    marked = {line.get_label(): line.get_xydata()[0].tolist() for line in picture.figure.axes[0].lines}
    assert marked == {"lowest: 0.001": [1, 0], "the weights: 1.51": [0, 0]}
    assert picture.figure.axes[0].get_xlabel() == "along the eigenvector of -1.9"


def test_colors_can_be_read_on_their_ground():
    style = (ROOT / "tricks" / "diagnosis" / "report" / "page.css").read_text()
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)]
    assert len(themes) == 3
    for theme in themes:
        assert theme.keys() == themes[0].keys()
        for ground, ink in itertools.product(
            ("paper", "panel", "soft"), ("ink", "muted", "accent", "train", "validation", "bad", "good")
        ):
            first, second = sorted((_luminance(theme[ground]), _luminance(theme[ink])))
            assert (second + 0.05) / (first + 0.05) >= 4.5, (ground, ink)


def _luminance(color: str) -> float:
    """As WCAG defines it."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_tables_hold_what_was_measured(without_pictures):
    text = page(diagnosis_reports.report("overfitting"))
    for cells in (
        ("chance accuracy", "0.1018"),
        ("train", "0.0021", "0.00189 to 0.002352"),
        ("interval", "0.014 to 0.031"),
        ("900", "20", "0.1533"),
        ("900", "0.001", "0.002", "0.0015", "0.004"),
        ("rate / 10", "optimizer.learning_rate: 0.01", "0", "0.11", "0.82", "completed", "20"),
    ):
        assert "".join(f"<td>{cell}</td>" for cell in cells) in text
    many = [{"epoch": epoch} for epoch in range(1, 1001)]
    assert '<th scope="col">Dense_0</th>' in text
    (table,) = evidence.tables({"curves": {"epochs": many}})["curves"]
    assert len(table.rows) <= 60
    assert table.rows[-1] == ["1,000"]
    assert table.note == "every 17th of 1,000 rows"
