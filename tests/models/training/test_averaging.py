import keras
import numpy as np
import pytest

from models.training import averaging


def trained(steps, optimizer_class=averaging.SGD, **arguments):
    """A small model after some steps; and, by the rule, the averages of its weights."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimizer=optimizer_class(learning_rate=0.1, **arguments), loss="mse")
    averages = None
    rng = np.random.default_rng(0)
    for step in range(steps):
        model.train_on_batch(rng.normal(size=(4, 3)), rng.normal(size=(4, 2)))
        weights = [np.asarray(variable) for variable in model.trainable_variables]
        momentum = min(arguments.get("ema_momentum", 0), (1 + step) / (10 + step))
        averages = [
            weight if step == 0 else momentum * average + (1 - momentum) * weight
            for average, weight in zip(averages or weights, weights, strict=True)
        ]
    return model, averages, weights


@pytest.mark.parametrize("optimizer_class", [averaging.SGD, averaging.AdamW])
# The fourth step would have a momentum of 4 / 13.
@pytest.mark.parametrize("momentum", [0.25, 0.99])
def test_averages_stand_in_for_the_weights_and_leave_them_alone(optimizer_class, momentum):
    model, averages, weights = trained(5, optimizer_class, use_ema=True, ema_momentum=momentum)
    with averaging.averaged_weights(model):
        for variable, average in zip(model.trainable_variables, averages, strict=True):
            np.testing.assert_allclose(np.asarray(variable), average, rtol=1e-5)
    for variable, weight in zip(model.trainable_variables, weights, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), weight)
    assert any((a != w).any() for a, w in zip(averages, weights, strict=True))


def test_without_averages_the_weights_stay():
    model, _, weights = trained(3)
    with averaging.averaged_weights(model):
        for variable, weight in zip(model.trainable_variables, weights, strict=True):
            np.testing.assert_array_equal(np.asarray(variable), weight)


def test_averaging_changes_no_step():
    averaged, _, _ = trained(5, use_ema=True, ema_momentum=0.9)
    plain, _, _ = trained(5, keras.optimizers.SGD)
    for one, other in zip(averaged.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
