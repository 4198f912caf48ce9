"""The network and the loss of a config for a data set: the library's, or a person's own through the same door."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from tricks import losses, models, options, own_functions
from tricks.config import Config
from tricks.data import Dataset
from tricks.errors import UserError, told_of
from tricks.losses import Batch, Loss
from tricks.models import Network
from tricks.own_functions import OwnFunction
from tricks.training import assembly, network_check
from tricks.training.assembly import Example

Functions = Mapping[str, OwnFunction]
"""A person's own functions, by the field that names them."""


class ModelParts(NamedTuple):
    """What is trained, and what is minimized.

    Attributes:
        build: `build(example, outputs, **options) -> Network`.
        example: of a batch of features.
        outputs: size of the last axis of the network's outputs.
        options: of the network, as far as they are no numbers of the perceptron, by name.
        loss: what is minimized.
    """

    build: Callable[..., Network]
    example: Example
    outputs: int
    options: dict[str, Any]
    loss: Loss

    def network(self) -> Network:
        """The network, for use without training."""
        return self.build(self.example.features, self.outputs, **self.options)


def make(config: Config, data: Dataset, functions: Functions) -> ModelParts:
    """Builds the network and the loss, and checks that they go together.

    Args:
        config: a valid one, whose options are complete.
        data: says what goes in and what must come out.
        functions: of a person's own.

    Returns:
        Both.

    Raises:
        UserError: the loss does not take the targets, or the network cannot be trained with it.
    """
    batch = assembly.batch_of(data.train, config.data.batch_size)
    example = assembly.example_of(batch.features)
    loss = find_loss(config, functions)
    try:
        outputs = loss.count_outputs(data.classes, batch.targets.shape[1:])
    except ValueError as error:
        raise UserError(f"loss.name is {config.loss.name!r}; {error} (data.name is {data.name!r})") from error
    own = functions.get("model.build")
    if own is None:
        build: Callable[..., Network] = models.perceptron
        chosen = perceptron_options(config)
    else:
        build, chosen = _OwnNetwork(own), config.model.options
    parts = ModelParts(build, example, outputs, chosen, loss)
    with told_of(f"model.build is {config.model.build!r}; "):
        found = network_check.outputs_of(parts.network(), example.features)
        network_check.check_outputs(found, loss, batch.targets, outputs)
    if "loss.name" in functions:
        with told_of(f"loss.name is {config.loss.name!r}; "), _of_shapes(found, batch.targets):
            loss = losses.from_function(loss.measures, found, batch.targets, config.loss.outputs)
            network_check.check_loss(loss, found, data.train.targets)
        parts = parts._replace(loss=loss)
    if functions:
        with told_of(f"model.build is {config.model.build!r}; "):
            network_check.check(parts.network(), batch.features)
            _check_builds_alike(parts, batch)
    return parts


def find_loss(config: Config, functions: Functions) -> Loss:
    """The loss of a config, as far as it is known without a network.

    Args:
        config: names it.
        functions: of a person's own.

    Returns:
        The loss; of a person's own the names of the measures are not known yet.

    Raises:
        UserError: there is none of that name.
    """
    if own := functions.get("loss.name"):
        return losses.from_function(functools.partial(own, **config.loss.options), None, None, config.loss.outputs)
    with told_of("loss."):
        return losses.named(config.loss.name)


def perceptron_options(config: Config) -> dict[str, Any]:
    """The options of the multilayer perceptron that a config holds."""
    return {name: value for name, value in vars(config.model).items() if name not in ("build", "options")}


def complete_options(config: Config, functions: Functions) -> None:
    """Writes the defaults of a person's own functions into the options that were not given.

    Args:
        config: that is changed.
        functions: of a person's own.

    Raises:
        UserError: an option that no function has.
    """
    for section, field, positional in (
        (config.model, "model.build", 2),
        (config.loss, "loss.name", 2),
        (config.data, "data.name", 0),
    ):
        name = field.split(".")[0]
        if field in functions:
            section.options = options.complete(
                functions[field], f"{name}.options", section.options, positional=positional
            )
        elif section.options:
            given = next(iter(section.options))
            chosen = getattr(section, field.split(".")[1])
            raise UserError(
                f"{name}.options.{given} is an option of no function: {field} is {chosen!r}, whose settings are fields "
                f"of {name}; give a function of your own as {field}=file.py:function"
            )


def _check_builds_alike(parts: ModelParts, batch: Batch) -> None:
    again = parts.build.again if isinstance(parts.build, _OwnNetwork) else parts.build
    networks = parts.network(), again(parts.example.features, parts.outputs, **parts.options)
    one, other = (network_check.fingerprint(network, parts.loss, batch) for network in networks)
    if one != other:
        raise ValueError(
            "two calls give different networks, or different initial weights for one key: draw from the key that init "
            "is given, and from nothing else"
        )


@contextlib.contextmanager
def _of_shapes(outputs: Any, targets: Any) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        shapes = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(outputs))
        raise UserError(
            f"{error} (outputs of shape {shapes} for targets of {targets.shape}; loss.outputs sets another number)"
        ) from error


class _OwnNetwork:
    """A person's `build`, called once for each of its arguments: it may take long."""

    def __init__(self, own: OwnFunction) -> None:
        self._own = own
        self._built: dict[Any, Network] = {}

    def __call__(self, example: Any, outputs: int, **chosen: Any) -> Network:
        leaves, structure = jax.tree.flatten(example)
        place = (structure, *leaves, outputs, *sorted(chosen.items()))
        if place not in self._built:
            self._built[place] = self.again(example, outputs, **chosen)
        return self._built[place]

    def again(self, example: Any, outputs: int, **chosen: Any) -> Network:
        """The network, built anew."""
        made = self._own(example, outputs, **chosen)
        if not (isinstance(made, tuple) and len(made) == 2 and all(map(callable, made))):
            raise UserError(
                f"model.build is {self._own.name!r}; it gives a {type(made).__name__}; allowed: a "
                "tricks.models.Network, such as tricks.models.from_nnx(make_module) or from_functions(init, apply)"
            )
        return Network(*(own_functions.guarded(self._own, function) for function in made))
