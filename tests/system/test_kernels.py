"""The part of the fused kernel's table that the quick tests leave out."""

import pytest

from tests import kernels


@pytest.mark.parametrize(("form", "kind"), kernels.OTHERS)
def test_the_fused_kernel_and_the_moments_agree(form, kind):
    kernels.check_that_it_agrees_with_the_moments(form, kind)
