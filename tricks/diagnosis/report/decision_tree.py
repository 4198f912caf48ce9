"""The lectures' questions to a training that does not behave, and the way that a diagnosis took through them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Question(NamedTuple):
    """A question with what each answer leads to: names of findings, or another question."""

    text: str
    answers: Mapping[str, "Question | tuple[str, ...]"]


TREE = Question(
    "Do all numbers stay finite?",
    {
        "no": ("non_finite",),
        "yes": Question(
            "Are the data sound?",
            {
                "no": ("leakage", "label_noise", "class_imbalance", "unscaled_features"),
                "yes": Question(
                    "Is the training loss large?",
                    {
                        "yes": Question(
                            "Does a model with more freedom fit better?",
                            {
                                "yes": ("model_bias", "over_regularized"),
                                "no": Question(
                                    "Is the gradient zero?",
                                    {
                                        "yes": ("saddle", "degenerate_plateau", "minimum"),
                                        "no": (
                                            "rate_too_large",
                                            "rate_too_small",
                                            "undertrained",
                                            "stuck_not_critical",
                                            "unlucky_start",
                                            "bad_initialization",
                                            "vanishing_gradients",
                                            "exploding_gradients",
                                            "dead_units",
                                            "saturated_units",
                                            "saturated_loss",
                                            "batch_too_large",
                                        ),
                                    },
                                ),
                            },
                        ),
                        "no": Question(
                            "Is the test loss large?",
                            {
                                "yes": Question(
                                    "Are training and test examples of one kind?",
                                    {"yes": ("overfitting",), "no": ("mismatch",)},
                                ),
                                "no": ("healthy",),
                            },
                        ),
                    },
                ),
            },
        ),
    },
)
"""Every finding has one place in it."""


def names_below(branch: Question | tuple[str, ...]) -> list[str]:
    """The findings that an answer may lead to.

    >>> names_below(TREE.answers["no"])
    ['non_finite']
    """
    if isinstance(branch, Question):
        return [name for answer in branch.answers.values() for name in names_below(answer)]
    return list(branch)


def way(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The questions on the way to the verdict, each with the answers that were not taken.

    Args:
        report: as `reading.cleaned` gives it. Without a path of its own, the verdict's place in `TREE` gives the way.

    Returns:
        A dict for each question, `{"question", "answer", "because", "others": [{"answer", "names"}]}`.

    >>> steps = way({"findings": [{"name": "healthy"}]})
    >>> [(step["question"], step["answer"]) for step in steps][-1]
    ('Is the test loss large?', 'no')
    >>> steps[0]["others"]
    [{'answer': 'no', 'names': ['non_finite']}]
    """
    findings = report.get("findings", [])
    steps = report.get("path") or list(_steps_to(findings[0].get("name", "") if findings else "", TREE))
    known = {_plain(question.text): question for question in _questions(TREE)}
    return [{"question": "", "answer": "", "because": "", **step, "others": _not_taken(step, known)} for step in steps]


def _not_taken(step: dict[str, Any], known: Mapping[str, Question]) -> list[dict[str, Any]]:
    question, answer = known.get(_plain(step.get("question", ""))), _plain(step.get("answer", ""))
    # An answer that the tree does not know, such as `not judged`, leaves nothing out.
    if question is None or answer not in question.answers:
        return []
    return [
        {"answer": other, "names": names_below(branch)} for other, branch in question.answers.items() if other != answer
    ]


def _steps_to(name: str, question: Question) -> Iterator[dict[str, Any]]:
    for answer, branch in question.answers.items():
        if name in names_below(branch):
            yield {"question": question.text, "answer": answer}
            if isinstance(branch, Question):
                yield from _steps_to(name, branch)


def _questions(question: Question) -> Iterator[Question]:
    yield question
    for branch in question.answers.values():
        if isinstance(branch, Question):
            yield from _questions(branch)


def _plain(text: str) -> str:
    return text.strip().lower()
