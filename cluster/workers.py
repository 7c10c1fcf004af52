"""The exchange between workers in their sessions, and what to do when one of them is gone."""

import contextlib
import functools
import hashlib
import os
import pathlib
import platform
import time
from collections.abc import Iterator

import numpy as np
import tensorflow.compat.v1 as tf

from bn_tools import layers_of
from cluster import collectives
from cluster.layout import Layout
from cluster.lookout import ANSWER_SECONDS, SECONDS_UNTIL_KNOWN, Lookout
from console import processor
from console.errors import CommandError, InputError, reason
from console.progress import note
from model import TrainingGraph
from networks.architectures import Replica
from training.worker import Verdict, Worker, WorkerLost

# How long the others are waited for at the start.
START_SECONDS = 120.0
# A step that takes longer than this, and than ten times the slowest one before, is given up.
STEP_SECONDS = 8.0
# Until the first step, each exchange: graphs are built, an old run is deleted.
BEGINNING_SECONDS = 120.0
# How long the chief may take to save, evaluate or go back, as long as its server answers.
WAITING_SECONDS = 3600.0
# What TensorFlow raises where the exchange with others breaks off or takes too long.
ERRORS_OF_EXCHANGE = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.FailedPreconditionError,  # it was started again
)
RESUME = "started again, all workers resume from the run's last checkpoint"


class OneOfSeveral(Worker):
    """This process as one of several workers."""

    def __init__(self, layout: Layout, batch_size: int, *, sync_batch_norm: bool):
        """Starts this worker's server.

        Args:
            layout: who the workers are.
            batch_size: of all workers together.
            sync_batch_norm: whether statistics are those of the whole batch.

        Raises:
            InputError: there are more workers than images in a batch, or the port is taken.
        """
        self.rank = layout.rank
        self.is_chief = self.rank == 0
        self.count = len(layout.addresses)
        if self.count > batch_size:
            raise InputError(
                f"--batch_size: expected an image for each of {self.count} workers, found "
                f"{batch_size}"
            )
        self.exchange = collectives.Exchange(self.count, layout.rank, first_key=1)
        # Apart, since the training graph may be built earlier on one worker than on another.
        in_training = collectives.Exchange(self.count, layout.rank, first_key=10**6)
        self._graph_exchange = in_training
        largest_part = -(-batch_size // self.count)
        self._gather_rows = functools.partial(in_training.gather_rows, most=largest_part)
        bounds = [batch_size * rank // self.count for rank in range(self.count + 1)]
        self.part = slice(bounds[layout.rank], bounds[layout.rank + 1])
        self._replica = Replica(
            first_image=self.part.start,
            batch_size=batch_size,
            share=(self.part.stop - self.part.start) / batch_size,
            gather=in_training.gather if sync_batch_norm else None,
            add_up_all=in_training.add_up_all,
            updates_collection=tf.GraphKeys.UPDATE_OPS,
            hold_back=collectives.hold_back,
        )
        # Each session sees this worker only, so none waits for the others' sessions.
        self._config = tf.ConfigProto(device_filters=[f"/job:worker/task:{layout.rank}"])
        self._config.experimental.collective_group_leader = "/job:worker/replica:0/task:0"
        # Workers are no business of a proxy for the web.
        hosts = [address.rpartition(":")[0] for address in layout.addresses]
        os.environ["no_grpc_proxy"] = ",".join(hosts)
        try:
            self._server = tf.train.Server(
                tf.train.ClusterSpec({"worker": layout.addresses}),
                "worker",
                layout.rank,
                config=self._config,
            )
        except tf.errors.OpError as error:
            raise InputError(
                f"{layout.addresses[layout.rank]}: expected a free port for this worker's server, "
                f"found: {reason(error)}"
            ) from None
        self._lookout = Lookout(layout.addresses, layout.rank, self._give_up)
        self._has_begun = False
        self._slowest_step = 0.0
        self._is_awaited = False  # whether the others wait for the chief's verdict

    def __enter__(self) -> "OneOfSeveral":
        self._lookout.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is not None and self.is_chief and self._is_awaited:
            # What is wrong is the chief's to say: the others leave without a word.
            with contextlib.suppress(CommandError):
                self.share_verdict(Verdict.REFUSED)
        self._lookout.__exit__()
        if kind is not None and issubclass(kind, WorkerLost):
            # A worker that is gone at once would be taken for the one that failed first.
            time.sleep(SECONDS_UNTIL_KNOWN)

    @property
    def replica(self) -> Replica:
        """Its part of each batch."""
        return self._replica

    def wait_for_all(self) -> None:
        """Waits until every worker's server answers.

        Raises:
            WorkerLost: one does not in `START_SECONDS`, or not any more.
        """
        deadline = time.monotonic() + START_SECONDS
        seen: set[int] = set()
        missing = self._lookout.silent(ANSWER_SECONDS)
        while missing:
            seen |= set(range(self.count)) - {self.rank, *missing}
            if time.monotonic() > deadline:
                raise WorkerLost(
                    f"{self._lookout.names(missing)} did not start within {START_SECONDS:.0f} s; "
                    "start all workers with the same flags and the same cluster in TF_CONFIG",
                    missing,
                )
            note(f"waiting for {self._lookout.names(missing)}")
            before, missing = missing, self._lookout.silent(ANSWER_SECONDS)
            lost = sorted(seen & {*before} & {*missing})
            if lost:
                raise WorkerLost(f"{self._lookout.names(lost)} does not answer any more", lost)

    def check_agreement(self, facts: dict[str, object]) -> None:
        """Refuses to train with workers that have other code, versions, data or flags.

        Afterwards, workers that compute the same bits may also exchange the factors of gradients.

        Args:
            facts: data and flags, by the names that an error shows.

        Raises:
            InputError: on each worker, naming what differs.
        """
        facts = {"code": _code(), "TensorFlow": tf.__version__, **facts}
        names = sorted(facts)
        # With other code, there may be other facts.
        for some in (["code"], names):
            digests = self._gather([_digest(facts[name]) for name in some])
            differing = [
                f"{name} (worker {rank})"
                for column, name in enumerate(some)
                for rank in range(len(digests))
                if digests[rank, column] != digests[0, column]
            ]
            if differing:
                raise InputError(
                    "expected all workers to have the same code, data and flags as worker 0, found "
                    f"differences in {', '.join(differing)}"
                )
        if self._have_equal_processors():
            self._replica = self._replica._replace(gather_rows=self._gather_rows)
        self._is_awaited = True

    def _have_equal_processors(self) -> bool:
        processors = self._gather([_digest(_processor())])
        return bool((processors == processors[0]).all())

    def leave(self) -> None:
        """Waits until all workers have taken the last step, unless one is gone already."""
        with contextlib.suppress(CommandError):
            self._gather([0])

    def share_verdict(
        self, verdict: Verdict = Verdict.TRAIN, rollbacks: int = 0
    ) -> tuple[Verdict, int]:
        """Gives all workers the chief's verdict, and how often the run has gone back."""
        self._is_awaited = False
        with tf.Graph().as_default() as graph:
            received = self.exchange.from_chief(tf.constant([verdict, rollbacks]))
        with self.plain_session(graph) as session, self.watched() as options:
            verdict, rollbacks = session.run(received, options=options).tolist()
        return Verdict(verdict), rollbacks

    def session(self, graph: TrainingGraph) -> tf.Session:
        """Opens a session on the training graph, and adds to it what workers exchange."""
        with graph.graph.as_default():
            self._receive_weights = tf.group(
                *(
                    variable.assign(self._graph_exchange.from_chief(variable.read_value()))
                    for variable in tf.global_variables()
                )
            )
            self._average_statistics = self._averaging()
            self._meeting = self._graph_exchange.from_chief(tf.constant(0))
        self._session = self.plain_session(graph.graph)
        return self._session

    @contextlib.contextmanager
    def watched(self, *, is_step: bool = False) -> Iterator[tf.RunOptions]:
        """Turns the loss of another worker in the block into a `WorkerLost` that names it.

        Yields the options of the session's run, which limit its time.
        """
        began = time.monotonic()
        if not self._has_begun:
            limit, can_save = BEGINNING_SECONDS, False
        elif is_step or self.is_chief:
            # The session returns with an error in time, and this worker can save.
            limit, can_save = max(STEP_SECONDS, 10 * self._slowest_step), True
        else:
            limit, can_save = WAITING_SECONDS, False
        with self._limited(limit, can_save=can_save) as options:
            yield options
        # The first step says nothing of others: TensorFlow optimizes the graph and takes memory.
        if is_step and self._has_begun:
            self._slowest_step = max(self._slowest_step, time.monotonic() - began)
        self._has_begun = self._has_begun or is_step

    @contextlib.contextmanager
    def _limited(self, limit: float, *, can_save: bool) -> Iterator[tf.RunOptions]:
        patience = limit + STEP_SECONDS if can_save else 0.0
        try:
            # TensorFlow does not always keep the limit.
            with self._lookout.waiting(limit + STEP_SECONDS, ends_by_itself_after=patience):
                yield tf.RunOptions(timeout_in_ms=int(1000 * limit))
        except tf.errors.OpError as error:
            raise self._explained(error) from error

    def share_weights(self) -> None:
        """Gives all variables their values on the chief; every worker calls this together."""
        with self.watched() as options:
            self._session.run(self._receive_weights, options=options)

    def average_statistics(self) -> None:
        """Makes population statistics the mean over all workers, which call this together."""
        if self._average_statistics is not None:
            with self.watched() as options:
                self._session.run(self._average_statistics, options=options)

    def meet(self) -> None:
        """Waits until the chief has saved and evaluated; every worker calls this together."""
        # Not `watched`: the others come to it as soon as they can, however slow steps are.
        limit = STEP_SECONDS if self.is_chief else WAITING_SECONDS
        with self._limited(limit, can_save=self.is_chief) as options:
            self._session.run(self._meeting, options=options)

    def _averaging(self) -> tf.Operation | None:
        if self.replica.gather is not None:
            return None
        statistics = [
            variable
            for layer in layers_of(tf.get_default_graph())
            for variable in (layer.variables.pop_mean, layer.variables.pop_var)
        ]
        if not statistics:
            return None
        sums = self._graph_exchange.add_up_all(
            [self.replica.share * variable.read_value() for variable in statistics]
        )
        with tf.control_dependencies(sums):
            return tf.group(
                *(variable.assign(total) for variable, total in zip(statistics, sums, strict=True))
            )

    def _gather(self, values: list[int]) -> np.ndarray:
        with tf.Graph().as_default() as graph:
            gathered = self.exchange.gather(tf.constant(values, tf.int64))
        with self.plain_session(graph) as session, self.watched() as options:
            return session.run(gathered, options=options)

    def plain_session(self, graph: tf.Graph) -> tf.Session:
        """Opens a session on this worker's server."""
        return tf.Session(self._server.target, graph=graph, config=self._config)

    def _explained(self, error: tf.errors.OpError) -> Exception:
        """Returns the loss of a worker that an error is due to, or else the error."""
        silent = self._lookout.silent(ANSWER_SECONDS)
        if silent:
            return WorkerLost(self._lost(silent), silent)
        if isinstance(error, ERRORS_OF_EXCHANGE):
            return WorkerLost(f"{self._failed()} ({reason(error)})", [])
        return error

    def _failed(self) -> str:
        return (
            "the exchange failed though all workers answer: one of them was too slow, was started "
            "again, or has the address or task index of another"
        )

    def _lost(self, ranks: list[int]) -> str:
        stood_still = self._lookout.stood_still
        own = f" (this worker itself stood still for {stood_still:.0f} s)" if stood_still else ""
        return f"{self._lookout.names(ranks)} does not answer any more{own}"

    def _give_up(self, lost: list[int]) -> None:
        """Ends a process whose session waits in vain, and won't return."""
        note(f"{self._lost(lost) if lost else self._failed()}; {RESUME}")
        time.sleep(SECONDS_UNTIL_KNOWN)
        os._exit(WorkerLost.exit_code)


def _digest(fact: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(fact).encode()).digest()[:8], "big", signed=True)


def _processor() -> tuple:
    """Returns what the bits of a matrix product depend on, as far as it is known."""
    settings = [
        (name, value)
        for name, value in sorted(os.environ.items())
        if name.startswith(("DNNL_", "OMP_", "ONEDNN_", "TF_ENABLE_", "TF_NUM_"))
    ]
    # Where the features are not known, only the machine itself is a similar one.
    features = sorted(processor.features() or [platform.node()])
    return processor.name(), features, processor.cores(), settings


def _code() -> str:
    """Returns a fingerprint of the program."""
    project = pathlib.Path(__file__).resolve().parents[1]
    content = hashlib.sha256()
    for path in sorted([*project.glob("*.py"), *project.glob("*/*.py")]):
        if path.parent.name != "tests":
            content.update(path.read_bytes())
    return content.hexdigest()
