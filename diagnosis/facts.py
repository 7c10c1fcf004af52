"""Everything that the rules ask of one graph, computed once."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from console.errors import InputError
from diagnosis import roles
from diagnosis.evaluation import VARIABLES, Evaluation
from diagnosis.layers import Call, Layer, Layers, Update
from diagnosis.reading import Source, node_name
from diagnosis.tracing import Tracer
from diagnosis.view import Node, Tensor, View, ancestors


class Facts:
    """A graph, its layers, and what of it is run in training and in inference.

    Attributes:
        train_ops, outputs: as named, or as found.
        phases: list of `Phase`, of which each decides what some layer uses.
    """

    def __init__(
        self,
        source: Source,
        train_ops: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
    ):
        """Raises InputError if an op or tensor of a given name is not in the graph."""
        self.source = source
        self.view = View(source.graph_def)
        self.layers = Layers(self.view)
        self.appliers = roles.appliers(self.view, self.layers.static)
        self.are_train_ops_named = bool(train_ops)
        if train_ops:
            self.train_ops = [self._named(name)[0] for name in train_ops]
        else:
            collected = source.collections.get("train_op", [])
            self.train_ops = roles.train_ops(self.view, self.appliers, collected)
        self.phases = roles.phases(self.view, self.layers)
        self.training = Tracer(Evaluation(self.view, {p.node: p.training for p in self.phases}))
        self.inference = Tracer(Evaluation(self.view, {p.node: p.inference for p in self.phases}))
        self.trained_by = self.training.evaluation.executed(self.train_ops)
        names = source.outputs or None if outputs is None else outputs
        self.are_outputs_named = names is not None
        if names is not None:
            self.outputs: list[Tensor] = [self._named(name) for name in names]
        else:
            self.outputs = roles.outputs(self.view, self.layers, self._run_by_training())

    def _named(self, name: str) -> Tensor:
        tensor = self.view.tensor(name)
        if tensor is None:
            likely = [n for n in self.view.by_name if node_name(name).lower() in n.lower()]
            hint = f"; did you mean {likely[0]}?" if likely else ""
            raise InputError(f"{name}: expected the name of an op or tensor in the graph{hint}")
        return tensor

    def _run_by_training(self) -> set[Node]:
        return ancestors(self.train_ops) if self.train_ops else set()

    # --- The graph ---

    @property
    def is_training_graph(self) -> bool:
        """Whether anything in the graph learns."""
        return bool(self.appliers)

    def collection(self, name: str) -> list[Node]:
        """Returns the nodes of a collection."""
        names = self.source.collections.get(name, [])
        return [self.view.by_name[name] for name in names if name in self.view.by_name]

    @functools.cached_property
    def trainable(self) -> set[Node]:
        """The variables that are trainable: those of the collection, or those that are trained."""
        collected = self.collection("trainable_variables")
        return set(collected) or {node for node in self.appliers.values() if node is not None}

    @functools.cached_property
    def variables(self) -> list[Node]:
        """All variables."""
        return [node for node in self.view.nodes if node.op in VARIABLES]

    # --- Training ---

    def mode(self, call: Call) -> str | None:
        """Returns what a call uses in training."""
        return roles.mode(call, self.training)

    def trained_calls(self, layer: Layer) -> list[Call]:
        """Returns the calls that a train op runs, and that use the batch's statistics."""
        return [
            call
            for call in layer.calls
            if call.node in self.trained_by and self.mode(call) in ("batch", "either")
        ]

    def updates_run(self, layer: Layer) -> list[Update]:
        """Returns the updates that a train op runs, and that change something."""
        return [
            update
            for update in layer.updates
            if update.node in self.trained_by and roles.changes(update.node, self.training)
        ]

    # --- Inference ---

    @functools.cached_property
    def run_by_outputs(self) -> set[Node]:
        """The nodes that are run when the outputs are fetched in inference."""
        return self.inference.evaluation.executed(node for node, _ in self.outputs)

    def calls_behind(self, output: Tensor) -> list[tuple[Layer, Call]]:
        """Returns the calls that an output depends on in inference."""
        behind = {node for node, _ in self.inference.evaluation.behind([output])}
        return [
            (layer, call) for layer in self.layers for call in layer.calls if call.node in behind
        ]

    def is_learned_from(self, call: Call) -> bool:
        """Whether a call is part of what is trained, in training."""
        return call.node in self.trained_by

    def has_phase(self, call: Call) -> bool:
        """Whether a phase decides what a call uses, or whether it is run."""
        return bool(self.phases) and roles.mode(call, self.training) != roles.mode(
            call, self.inference
        )

    @functools.cached_property
    def is_phase_trained(self) -> bool:
        """Whether a phase decides what a trained layer uses, or whether it updates."""
        return any(
            self.is_learned_from(call) and self.has_phase(call)
            for layer in self.layers
            for call in layer.calls
        ) or any(
            roles.changes(update.node, self.training) != roles.changes(update.node, self.inference)
            for update in self.layers.updates
            if update.node in self.trained_by
        )
