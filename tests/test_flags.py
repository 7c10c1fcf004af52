"""Edge cases of the flags: which values are refused, and with what message."""

import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

import flags
from console import commands


@pytest.fixture(scope="module")
def training_flags():
    """Defines the flags of train.py for the duration of these tests."""
    before = set(absl_flags.FLAGS)
    flags.define_training()
    yield
    for name in set(absl_flags.FLAGS) - before:
        delattr(absl_flags.FLAGS, name)


@pytest.mark.parametrize(
    ("wrong", "fragments"),
    [
        (["--epoch=3"], ["epoch", "epochs"]),
        (["--epochs=0"], ["epochs", "0"]),
        (["--epochs=many"], ["epochs", "many"]),
        (["--epochs=1", "--train_steps=1"], ["epochs=1.0, train_steps=1", "--flagfile"]),
        (["--bn_decay=1"], ["bn_decay", "1.0", "[0, 0.99999]"]),
        (["--bn_decay=-0.1"], ["bn_decay", "-0.1", "[0, 0.99999]"]),
        (["--bn_epsilon=0"], ["bn_epsilon", "above 0"]),
        (["--bn_epsilon=1e-300"], ["bn_epsilon", "1e-300", "1.2e-38"]),
        (["--learning_rate=nan"], ["learning_rate", "nan"]),
        (["--learning_rate=1e300"], ["learning_rate", "1e+300", "3.4e38"]),
        (["--seed=-1"], ["seed", "-1"]),
        (["--seed=99999999999999999999"], ["seed", "99999999999999999999"]),
        (["--on_nan=ignore"], ["on_nan", "ignore", "rollback"]),
        (["--save_every=0"], ["save_every", "0"]),
        (["--eval_every=1.5"], ["eval_every", "1.5"]),
        (["--dataset=cifar"], ["dataset", "cifar", "synthetic"]),
        (["--run="], ["run", "file name"]),
        (["--population=exact", "--nobatch_norm"], ["population=exact", "batch_norm"]),
        (["--model=rnn"], ["model", "rnn", "cnn"]),
        (["--run=../elsewhere"], ["run", "../elsewhere"]),
        (["--batch_size=0"], ["batch_size", "0"]),
        (["--augment=blur"], ["augment", "blur", "elastic"]),
        (["--dropout=1"], ["dropout", "1.0", "[0, 1)"]),
        (["--label_smoothing=-0.1"], ["label_smoothing", "-0.1", "[0, 1)"]),
        (["--weight_decay=1"], ["weight_decay", "1.0", "[0, 1)"]),
        (["--weight_average=1"], ["weight_average", "1.0", "[0, 0.99999]"]),
        (["--validation_size=-1"], ["validation_size", "-1"]),
        (["--flagfile=presets/missing.flags"], ["presets/missing.flags"]),
    ],
)
@pytest.mark.usefixtures("training_flags")
def test_wrong_flags_get_one_line(capsys, wrong, fragments):
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as refused:
        commands.parse_flags(["train.py", *wrong])
    assert refused.value.code == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert printed.out == ""
    for fragment in (*fragments, "--help"):
        assert fragment in line
