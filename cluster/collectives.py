"""What workers exchange, in the graph: sums of gradients, batch statistics, weights.

All workers build the same graph, so the order of building gives an exchange the same key on each.
"""

import itertools
from collections.abc import Iterator, Sequence

import tensorflow.compat.v1 as tf

GROUP_KEY = 1
# Small tensors share a message, since each message costs time. Large ones are sent in several, so
# that they can be added up while later parts are on their way.
LEAST_BYTES, MOST_BYTES = 2**20, 2**22


class Exchange:
    """Builds exchanges between the workers. No key is used twice in a process."""

    def __init__(self, workers: int, rank: int, first_key: int):
        """Takes the number of workers, which one this is, and the first of the keys."""
        self._workers = workers
        self._rank = rank
        self._keys = itertools.count(first_key)

    def gather(self, vector: tf.Tensor) -> tf.Tensor:
        """Returns the vectors [k] of all workers, [workers, k], by rank."""
        return self._gather(vector[tf.newaxis])

    def gather_rows(self, rows: tf.Tensor, most: int) -> tf.Tensor:
        """Returns the rows of all workers, each padded with rows of 0 to `most`.

        Args:
            rows: [at most `most`, k].
            most: the same on each worker.

        Returns:
            A tensor [workers * most, k].
        """
        # The op does not take bfloat16.
        padded = tf.pad(
            tf.cast(rows, tf.float32) if rows.dtype == tf.bfloat16 else rows,
            [[0, most - tf.shape(rows)[0]], [0, 0]],
        )
        padded.set_shape([most, rows.shape[1]])
        return tf.cast(self._gather(padded), rows.dtype)

    def _gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the rows of all workers, of which there are as many on each, by rank."""
        return tf.raw_ops.CollectiveGatherV2(input=rows, ordering_token=[], **self._next_keys())

    def add_up(self, vector: tf.Tensor) -> tf.Tensor:
        """Returns the sum of all workers' vectors, with the same bits on each."""
        return tf.raw_ops.CollectiveReduceV2(
            input=vector, merge_op="Add", final_op="Id", ordering_token=[], **self._next_keys()
        )

    def add_up_all(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the sums of each tensor over all workers, sent in a few large messages.

        Args:
            tensors: in the order in which they are computed, of static shapes.
        """
        sums: list[tf.Tensor] = []
        for group in groups(tensors):
            sizes = [tensor.shape.num_elements() for tensor in group]
            flat = tf.concat([tf.reshape(tensor, [-1]) for tensor in group], axis=0)
            messages = tf.split(flat, message_sizes(flat))
            arrived = tf.concat([self.add_up(message) for message in messages], axis=0)
            parts = tf.split(arrived, sizes)
            sums += [
                tf.reshape(part, tensor.shape) for part, tensor in zip(parts, group, strict=True)
            ]
        return sums

    def from_chief(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the chief's value of a tensor of static shape."""
        if self._rank == 0:
            return tf.raw_ops.CollectiveBcastSendV2(input=value, **self._next_keys())
        return tf.raw_ops.CollectiveBcastRecvV2(
            T=value.dtype.base_dtype, shape=value.shape.as_list(), **self._next_keys()
        )

    def _next_keys(self) -> dict[str, int]:
        return {
            "group_size": self._workers,
            "group_key": GROUP_KEY,
            "instance_key": next(self._keys),
        }


def hold_back(updates: Sequence[tf.Tensor], until: Sequence[tf.Tensor]) -> None:
    """Makes the assignments behind `updates` wait for `until`, which was built after them.

    Otherwise a worker that is lost in the middle of a step would leave the others with averages of
    this step and weights of the one before. There is no public way to order ops after the fact.

    Raises:
        ValueError: there are updates, but no assignments behind them.
    """
    waited_for = [tensor.op for tensor in until]
    assignments = _assignments_behind([update.op for update in updates])
    if updates and not assignments:
        raise ValueError(f"expected updates that assign to variables, found {updates[0].op.name}")
    for assignment in assignments:
        assignment._add_control_inputs(waited_for)


def _assignments_behind(ops: list[tf.Operation]) -> list[tf.Operation]:
    found, seen, to_visit = [], set(ops), list(ops)
    while to_visit:
        op = to_visit.pop()
        if op.type.startswith("Assign"):
            found.append(op)
            continue
        before = [tensor.op for tensor in op.inputs] + list(op.control_inputs)
        to_visit += [each for each in before if each not in seen]
        seen.update(before)
    return found


def groups(tensors: Sequence[tf.Tensor]) -> Iterator[list[tf.Tensor]]:
    """Yields the tensors in groups of one dtype and, if there are enough, of `LEAST_BYTES`."""
    group: list[tf.Tensor] = []
    size = 0
    for tensor in tensors:
        if group and (size >= LEAST_BYTES or tensor.dtype != group[0].dtype):
            yield group
            group, size = [], 0
        group.append(tensor)
        size += tensor.shape.num_elements() * tensor.dtype.size
    if group:
        yield group


def message_sizes(flat: tf.Tensor) -> list[int]:
    """Returns the lengths of the messages that a vector is sent in."""
    length = flat.shape.num_elements()
    messages = -(-length * flat.dtype.size // MOST_BYTES)
    bounds = [length * k // messages for k in range(messages + 1)]
    return [end - begin for begin, end in zip(bounds, bounds[1:], strict=False)]
