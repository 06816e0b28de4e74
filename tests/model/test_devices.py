"""The devices that a model is traced for, and put on, are those that JAX will use."""

import jax
import pytest

from aftrans_jax.model.devices import default_device, local_devices


@pytest.mark.parametrize(("chosen", "number"), [(None, 0), ("cpu", 0), (2, 2)])
def test_it_is_the_one_that_is_set_or_the_first(chosen, number):
    device = jax.devices()[chosen] if isinstance(chosen, int) else chosen
    with jax.default_device(device):
        assert default_device() == jax.devices()[number]
        assert jax.numpy.zeros(1).devices() == {default_device()}


@pytest.mark.parametrize(("chosen", "numbers"), [(None, range(4)), ("cpu", range(4)), (2, [2])])
def test_all_are_used_unless_one_is_set(chosen, numbers):
    with jax.default_device(jax.devices()[chosen] if isinstance(chosen, int) else chosen):
        assert local_devices() == [jax.devices()[number] for number in numbers]
