"""What is deprecated is an error where our code calls it, however the library says so."""

import warnings

import pytest


@pytest.mark.parametrize("kind", [DeprecationWarning, PendingDeprecationWarning, FutureWarning])
def test_a_warning_about_our_call(kind):
    with pytest.raises(kind, match="old"):
        warnings.warn("old", kind, stacklevel=1)


def test_a_warning_that_names_our_call():
    from tfx.types import channel

    with pytest.raises(DeprecationWarning, match=r"^From .*test_deprecations.py:\d+: union "):
        channel.union([])


def test_a_log_line_of_tensorflow_about_our_call():
    import tensorflow as tf

    with pytest.raises(DeprecationWarning, match=r"to_float .* is deprecated"):
        tf.compat.v1.to_float(1)


def test_what_others_call_is_their_concern():
    line = "From /lib/site-packages/tfx/models.py:1: old is deprecated"
    warnings.warn_explicit(line, DeprecationWarning, "deprecation_utils.py", 1, module="tfx.utils")
    warnings.warn_explicit("old", FutureWarning, "models.py", 1, module="keras.models")
