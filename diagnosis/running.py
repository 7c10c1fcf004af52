"""The questions of rules 101, 103, 104 and 201, answered by running a copy of the graph.

The copy is mended where today's TensorFlow refuses it. Its variables get their initial values, and
its placeholders, queues and iterators made-up data; nothing is read and nothing is written.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Container, Iterable
from typing import Any, NamedTuple

import numpy as np

from console.errors import CommandError, reason
from diagnosis import mending, shapes
from diagnosis.evaluation import VARIABLES
from diagnosis.examination import Diagnosis, ordered
from diagnosis.facts import Facts
from diagnosis.findings import Finding, finding, several
from diagnosis.reading import node_name
from diagnosis.roles import Phase
from diagnosis.tracing import ASSIGNMENTS
from diagnosis.view import Node, Tensor

BATCH = 4
# Of a dimension that may have any size, other than the batch.
SIZE = 32
# Ops whose outputs come from outside: they are fed, as placeholders are.
_READERS = frozenset(
    {
        "IteratorGetNext",
        "QueueDequeue",
        "QueueDequeueV2",
        "QueueDequeueMany",
        "QueueDequeueManyV2",
        "QueueDequeueUpTo",
        "QueueDequeueUpToV2",
        "ReaderRead",
        "ReaderReadV2",
        "Unstage",
    }
)
# Outputs of sound graphs differ in the last digits when their batches do.
TOLERANCE = 1e-4


class Seen(NamedTuple):
    """What was seen by running a graph. None where it could not be run."""

    moved: set[str] | None  # population variables that a training step changed
    unmoved: set[str] | None
    changed: set[str] | None  # those that fetching the outputs in inference changed
    dependent: set[str] | None  # outputs that changed with the rest of the batch
    independent: set[str] | None
    trouble: list[str]  # why something could not be run


def add_findings(diagnosis: Diagnosis, steps: int, feeds: Callable[[], dict] | None = None) -> None:
    """Adds to a diagnosis what is seen by running its graph for some steps."""
    seen = run(diagnosis.facts, steps, feeds)
    doubted = {
        one.layer
        for one in diagnosis.findings
        if one.id in ("BN101", "BN104") and one.severity == "cannot_tell"
    }
    found = _findings(diagnosis.facts, seen, steps, doubted)
    diagnosis.findings[:] = ordered([*diagnosis.findings, *found])


def run(facts: Facts, steps: int, feeds: Callable[[], dict] | None = None) -> Seen:
    """Runs a graph's train ops for some steps, and its outputs on batches that differ in part.

    A program may have built the size of its batch into the graph: if the usual one does not fit,
    the one that the error names is tried.
    """
    seen = _run_with(facts, steps, feeds, BATCH)
    for batch in _sizes_in(seen.trouble):
        other = _run_with(facts, steps, feeds, batch)
        if not other.trouble:
            return other
    return seen


def _sizes_in(trouble: list[str]) -> list[int]:
    """Returns the sizes of batches that errors may name, such as `[4,28] vs. [32,28]`."""
    sizes = [
        int(size) for text in trouble for size in re.findall(r"(?<![\w.])\d+(?![\w.]\w)", text)
    ]
    return [size for size in dict.fromkeys(sizes) if 1 < size <= 256 and size != BATCH][:3]


def _run_with(facts: Facts, steps: int, feeds: Callable[[], dict] | None, batch: int) -> Seen:
    import tensorflow.compat.v1 as tf

    seen = Seen(None, None, None, None, None, [])
    try:
        copy = Copy(facts, feeds, batch=batch)
    except CommandError as error:
        return seen._replace(trouble=[str(error)])
    failures = (tf.errors.OpError, ValueError, TypeError, CommandError)
    try:
        with tf.Session(graph=copy.graph) as session:
            copy.initialize(session)
            if facts.train_ops:
                try:
                    moved, unmoved = copy.train(session, steps)
                    seen = seen._replace(moved=moved, unmoved=unmoved)
                except failures as error:
                    seen.trouble.append(f"the train op can't be run: {reason(error)}")
            if facts.outputs:
                try:
                    changed, dependent, independent = copy.infer(session)
                    seen = seen._replace(
                        changed=changed, dependent=dependent, independent=independent
                    )
                except failures as error:
                    seen.trouble.append(f"the outputs can't be run: {reason(error)}")
    except failures as error:
        seen.trouble.append(f"it can't be initialized: {reason(error)}")
    return seen


class Copy:
    """A mended copy of a graph, and what to feed it."""

    def __init__(
        self,
        facts: Facts,
        feeds: Callable[[], dict] | None = None,
        more: Iterable[str] = (),
        batch: int = BATCH,
    ):
        self._facts = facts
        self._own_feeds = feeds
        self._assignments: dict[str, tuple[Any, Any]] = {}
        self._population = {
            node.name
            for layer in facts.layers
            for node in layer.population
            if node.name in _names(facts)
        }
        self._initializers = self._find_initializers()
        wanted = [node.name for node in facts.train_ops]
        wanted += [node.name for node, _ in facts.outputs]
        wanted += [*self._initializers.values(), *self._initializers, *self._population]
        wanted += [phase.node.name for phase in facts.phases]
        wanted += more
        self._sources = _sources(facts.source.graph_def)
        needed = self._needed = self._behind(wanted)
        self.graph = mending.imported(facts.source.graph_def, needed, _READERS)
        self._batch = self._batch_size(needed) or batch
        self._fed = [facts.view.by_name[name] for name in sorted(needed)]
        self._fed = [node for node in self._fed if _is_fed(node)]

    def _behind(self, names: Iterable[str]) -> set[str]:
        """Returns what ops need, up to what is fed."""
        found = set(names)
        waiting = list(found)
        while waiting:
            name = waiting.pop()
            node = self._facts.view.by_name.get(name)
            if node is not None and node.op in _READERS:
                continue
            for source in self._sources.get(name, ()):
                if source not in found:
                    found.add(source)
                    waiting.append(source)
        return found & set(self._sources)

    def _find_initializers(self) -> dict[str, str]:
        found = {}
        for node in self._facts.variables:
            if node.name not in _names(self._facts):
                continue
            name = self._facts.source.initializers.get(node.name)
            if name is None:
                name = next(
                    (
                        consumer.name
                        for consumer, number in node.consumers
                        if consumer.op in ("Assign", "AssignVariableOp")
                        and number == 0
                        and _is_initial(consumer, node)
                    ),
                    None,
                )
            if name in self._facts.view.by_name:
                found[node.name] = name
        return found

    def initialize(self, session: Any) -> None:
        """Gives all variables their initial values, in whatever order these need."""
        import tensorflow.compat.v1 as tf

        left = dict(self._initializers)
        while left:
            done = []
            for variable, initializer in left.items():
                try:
                    session.run(self.graph.get_operation_by_name(initializer), self._feeds(0))
                    done.append(variable)
                except tf.errors.FailedPreconditionError:
                    continue
            if not done:
                raise tf.errors.FailedPreconditionError(
                    None, None, f"{next(iter(left))} needs a variable that is never initialized"
                )
            for variable in done:
                del left[variable]

    def train(self, session: Any, steps: int) -> tuple[set[str], set[str]]:
        """Runs the train ops; returns which statistics that changed, and which did not."""
        names = sorted(self._population)
        self._set_phases(session, training=True)
        before = self._values(session, names)
        operations = [self.graph.get_operation_by_name(node.name) for node in self._facts.train_ops]
        for step in range(steps):
            for operation in operations:
                session.run(operation, self._feeds(step, training=True))
        after = self._values(session, names)
        moved = {name for name in names if not np.array_equal(before[name], after[name])}
        return moved, set(names) - moved

    def infer(self, session: Any) -> tuple[set[str], set[str], set[str]]:
        """Runs the outputs; returns the statistics that changed, and the outputs that did, or not.

        An output shows whether it depends on the batch if its first dimension is the batch's.
        """
        names = sorted(self._population)
        tensors = [
            self.graph.get_tensor_by_name(f"{node.name}:{port}")
            for node, port in self._facts.outputs
            if node.name in _names(self._facts)
            and self._has_output(node, port)
            and is_of_inference(self._facts, (node, port))
        ]
        self._set_phases(session, training=False)
        before = self._values(session, names)
        feeds = self._feeds(0, training=False)
        other_feeds = self._in_other_company(feeds)
        changed: set[str] = set()
        dependent: set[str] = set()
        independent: set[str] = set()
        # One by one: an output of training would change the statistics that another one reads.
        for tensor in tensors:
            results = []
            for fed in (feeds, feeds, other_feeds):
                results.append(session.run(tensor, fed))
                after = self._values(session, names)
                moved = {n for n in names if not np.array_equal(before[n], after[n])}
                changed |= moved
                if moved:
                    self.load(session, {name: before[name] for name in moved})
            first, second, third = results
            if np.shape(first)[:1] != (self._batch,) or self._batch < 2:
                continue
            if not np.issubdtype(np.asarray(first).dtype, np.floating):
                continue
            size = np.abs(first[0]).max() if np.size(first[0]) else 0.0
            if not np.isfinite(size) or not _near(first[0], second[0], size):
                continue  # It is random.
            is_same = _near(second[0], third[0], size)
            (independent if is_same else dependent).add(tensor.op.name)
        return changed, dependent, independent

    def load(self, session: Any, values: dict[str, Any]) -> None:
        """Gives variables values, by their names."""
        for name, value in values.items():
            assignment, placeholder = self._assignment(name)
            session.run(assignment, {placeholder: value})

    def load_checkpoint(self, session: Any, values: Any) -> None:
        """Gives all variables that a `Checkpoint` has their values in it."""
        names = [node.name for node in self._facts.variables if node.name in self._needed]
        self.load(session, {name: values.value(name) for name in names if values.has(name)})

    def feeds_of(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Returns feeds for inference with a batch of the user's; what else is fed is made up."""
        given = {name if ":" in name else f"{name}:0": value for name, value in batch.items()}
        return {**self._feeds(0, training=False), **given}

    def _assignment(self, name: str) -> tuple[Any, Any]:
        import tensorflow.compat.v1 as tf

        if name not in self._assignments:
            variable = self.graph.get_operation_by_name(name)
            with self.graph.as_default():
                placeholder = tf.placeholder(variable.get_attr("dtype"))
                if variable.type == "VarHandleOp":
                    assignment = tf.raw_ops.AssignVariableOp(
                        resource=variable.outputs[0], value=placeholder
                    )
                else:
                    assignment = tf.raw_ops.Assign(
                        ref=variable.outputs[0], value=placeholder, validate_shape=False
                    )
            self._assignments[name] = assignment, placeholder
        return self._assignments[name]

    def _set_phases(self, session: Any, training: bool) -> None:
        """Gives phases that are variables their value."""
        for phase in self._facts.phases:
            if phase.node.op in VARIABLES and phase.node.name in _names(self._facts):
                self.load(session, {phase.node.name: _as_fed(phase, training)})

    def _has_output(self, node: Node, port: int) -> bool:
        try:
            return len(self.graph.get_operation_by_name(node.name).outputs) > port
        except KeyError:
            return False

    def _values(self, session: Any, names: list[str]) -> dict[str, Any]:
        tensors = {}
        for name in names:
            operation = self.graph.get_operation_by_name(name)
            if operation.type == "VarHandleOp":
                reads = [
                    consumer.outputs[0]
                    for consumer in operation.outputs[0].consumers()
                    if consumer.type == "ReadVariableOp"
                    and not consumer.control_inputs
                    and consumer.graph is self.graph
                ]
                tensors[name] = reads[0] if reads else self._read(operation)
            else:
                tensors[name] = operation.outputs[0]
        return session.run(tensors)

    def _read(self, operation: Any) -> Any:
        import tensorflow.compat.v1 as tf

        name = f"doctor_reads/{operation.name}"
        try:
            return self.graph.get_tensor_by_name(f"{name}:0")
        except KeyError:
            with self.graph.as_default():
                dtype = operation.get_attr("dtype")
                return tf.raw_ops.ReadVariableOp(
                    resource=operation.outputs[0], dtype=dtype, name=name
                )

    # --- Feeds ---

    def _batch_size(self, needed: set[str]) -> int:
        """Returns the size of the batch of a placeholder that leaves no choice, or 0."""
        fixed = []
        for name in needed:
            node = self._facts.view.by_name[name]
            if _is_fed(node):
                sizes = shapes.shape((node, 0))
                if sizes and len(sizes) > 1 and sizes[0] is not None:
                    fixed.append(sizes[0])
        return max(fixed, default=0)

    def _feeds(self, step: int, training: bool | None = None) -> dict[str, Any]:
        values = {}
        for node in self._fed:
            for port in range(self._outputs_of(node)):
                values[f"{mending.fed_name(node.name, port)}:0"] = self._made_up(node, port, step)
        for phase in self._facts.phases:
            name = f"{phase.node.name}:0"
            if phase.node.op.startswith("Placeholder") and self._has_output(phase.node, 0):
                values[name] = _as_fed(phase, bool(training))
        if self._own_feeds is not None:
            values.update(
                {
                    name if ":" in name else f"{name}:0": value
                    for name, value in self._own_feeds().items()
                }
            )
        return values

    def _outputs_of(self, node: Node) -> int:
        if node.op not in _READERS:
            return 1
        port = 0
        while self._has_operation(mending.fed_name(node.name, port)):
            port += 1
        return port

    def _has_operation(self, name: str) -> bool:
        try:
            self.graph.get_operation_by_name(name)
        except KeyError:
            return False
        return True

    def _made_up(self, node: Node, port: int, step: int) -> Any:
        tensor = self.graph.get_tensor_by_name(f"{mending.fed_name(node.name, port)}:0")
        sizes = shapes.shape((node, port))
        recorded = node.attr["output_shapes"].list.shape if node.has("output_shapes") else ()
        if sizes is None and port < len(recorded) and not recorded[port].unknown_rank:
            sizes = [dim.size if dim.size >= 0 else None for dim in recorded[port].dim]
        if sizes is None:
            sizes = tensor.shape.as_list() if tensor.shape.ndims is not None else []
        dtype = tensor.dtype.base_dtype
        shape = [
            size if size is not None else self._batch if number == 0 else SIZE
            for number, size in enumerate(sizes)
        ]
        # The same placeholder gets the same data in the same step.
        random = np.random.RandomState(zlib.crc32(f"{node.name}:{port}/{step}".encode()) % 2**32)
        if dtype.is_floating:
            if not shape:
                return dtype.as_numpy_dtype(0.1)  # a rate, of learning or of dropout
            return random.normal(0.5, 1.0, shape).astype(dtype.as_numpy_dtype)
        if dtype.name == "uint8":
            return random.randint(0, 256, shape).astype(np.uint8)
        if dtype.is_integer:
            return np.zeros(shape, dtype.as_numpy_dtype)
        if dtype.is_bool:
            return np.zeros(shape, bool)
        raise CommandError(f"{node.name} takes {dtype.name}, for which there is no made-up data")

    def _in_other_company(self, feeds: dict[str, Any]) -> dict[str, Any]:
        """Returns feeds with the same first example, and others beside it."""
        changed = {}
        for name, value in feeds.items():
            if np.ndim(value) and np.shape(value)[0] == self._batch:
                value = np.array(value)
                if value.dtype.kind == "f":
                    value[1:] = value[1:] * 3 + 2
                elif value.dtype == np.uint8:
                    value[1:] = value[1:] // 4
            changed[name] = value
        return changed


def _near(one: Any, other: Any, size: float) -> bool:
    return bool(np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * max(size, 1e-3)))


def _as_fed(phase: Phase, training: bool) -> Any:
    value = phase.training if training else phase.inference
    number = phase.node.attr["dtype"].type if phase.node.has("dtype") else 10
    return bool(value) if number == 10 else value


def _is_fed(node: Node) -> bool:
    return node.op in _READERS or node.op in ("Placeholder", "PlaceholderV2")


def _is_initial(assignment: Node, variable: Node) -> bool:
    """Whether an assignment is not an update and not a Saver's."""
    source = assignment.inputs[1][0]
    seen, waiting = {source}, [source]
    while waiting and len(seen) < 100:
        node = waiting.pop()
        if node is variable or node.op.startswith("Restore") or node.op in ASSIGNMENTS:
            return False
        for behind, _ in node.inputs:
            if behind not in seen:
                seen.add(behind)
                waiting.append(behind)
    return True


def _names(facts: Facts) -> set[str]:
    return {node.name for node in facts.source.graph_def.node}


def _sources(graph_def: Any) -> dict[str, list[str]]:
    return {node.name: [node_name(name) for name in node.input] for node in graph_def.node}


# --- What it means ---


def _findings(
    facts: Facts, seen: Seen, steps: int, doubted: Container[str | None]
) -> Iterable[Finding]:
    """Says what was seen; of `doubted` layers, something that was not run may run the updates."""
    for trouble in seen.trouble:
        yield finding("BN101", "cannot_tell", None, f"not seen by running: {trouble}", "run")
    if seen.moved is not None and seen.unmoved is not None:
        trained = [layer for layer in facts.layers if facts.trained_calls(layer)]
        still = [
            layer
            for layer in trained
            if layer.population and seen.moved.isdisjoint(n.name for n in layer.population)
        ]
        rule = "BN104" if len(still) < len(trained) else "BN101"
        for layer in still:
            names = several([node.name for node in layer.population])
            severity = "cannot_tell" if layer.name in doubted else "error"
            what = f"{names} did not move in {steps} steps"
            yield finding(rule, severity, layer.name, what, "run")
    inferring = [output for output in facts.outputs if is_of_inference(facts, output)]
    if seen.changed and inferring:
        yield finding(
            "BN103", "error", None, f"fetching the outputs changed {several(sorted(seen.changed))}",
            "run",
        )  # fmt: skip
    if seen.dependent is not None:
        for node, _ in inferring:
            if node.name in seen.dependent:
                yield finding(
                    "BN201",
                    "error",
                    None,
                    f"{node.name} of an example changed with the others in its batch",
                    "run",
                )


def is_of_inference(facts: Facts, output: Tensor) -> bool:
    """Whether an output is known to be one of inference, not of training."""
    if not facts.is_training_graph or facts.phases:
        return True
    return not any(facts.is_learned_from(call) for _, call in facts.calls_behind(output))
