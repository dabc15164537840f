import keras
import numpy as np
import pytest

from models.training import optimizer
from models.training.optimizer import LearningRate
from tests.models.helpers import training


def trained(steps, optimizer_class=optimizer.SGD, **arguments):
    """A small model after some steps, its weights, and their averages by the rule."""
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


@pytest.mark.parametrize("optimizer_class", [optimizer.SGD, optimizer.AdamW])
# The fourth step would have a momentum of 4 / 13.
@pytest.mark.parametrize("momentum", [0.25, 0.99])
def test_averages_replace_the_weights_for_a_while(optimizer_class, momentum):
    model, averages, weights = trained(5, optimizer_class, use_ema=True, ema_momentum=momentum)
    with optimizer.averaged_weights(model):
        for variable, average in zip(model.trainable_variables, averages, strict=True):
            np.testing.assert_allclose(np.asarray(variable), average, rtol=1e-5)
    for variable, weight in zip(model.trainable_variables, weights, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), weight)
    assert any((a != w).any() for a, w in zip(averages, weights, strict=True))


def test_without_averages_the_weights_stay():
    model, _, weights = trained(3)
    with optimizer.averaged_weights(model):
        for variable, weight in zip(model.trainable_variables, weights, strict=True):
            np.testing.assert_array_equal(np.asarray(variable), weight)


def test_averaging_changes_no_step():
    averaged, _, _ = trained(5, use_ema=True, ema_momentum=0.9)
    plain, _, _ = trained(5, keras.optimizers.SGD)
    for one, other in zip(averaged.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_the_learning_rate_warms_up_and_decays_by_a_cosine():
    settings = training(
        steps=100, warmup_steps=10, learning_rate=0.2, final_learning_rate=0.1, quantization_delay=1
    )
    rate = LearningRate(settings)
    assert float(rate(0)) == 0
    assert float(rate(5)) == pytest.approx(0.1, rel=1e-5)
    assert float(rate(10)) == pytest.approx(0.2, rel=1e-5)
    half = 0.2 * (0.1 + 0.9 / 2)
    assert float(rate(55)) == pytest.approx(half, rel=1e-5)
    assert float(rate(100)) == pytest.approx(0.02, rel=1e-5)


def test_the_learning_rate_without_warm_up_starts_at_its_peak():
    rate = LearningRate(training(steps=100, learning_rate=0.2))
    assert float(rate(0)) == pytest.approx(0.2)
    assert float(rate(100)) == pytest.approx(0, abs=1e-7)


def test_quantized_steps_continue_the_schedule_of_all_steps():
    settings = training(steps=100, warmup_steps=10, learning_rate=0.2, quantization_delay=60)
    assert float(LearningRate(settings, 60)(5)) == pytest.approx(float(LearningRate(settings)(65)))
