import apache_beam as beam
from apache_beam.testing.util import assert_that, equal_to
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

from pipeline.beam_options import IN_PROCESS
from pipeline.shipping.evaluator import Executor


def test_examples_of_one_split_stream_to_the_detector():
    """Beam's local runner holds all of what enters a Flatten in memory: here, all pictures."""
    executor = Executor(BaseBeamExecutor.Context(beam_pipeline_args=list(IN_PROCESS)))
    with executor._make_beam_pipeline() as pipeline:
        one = pipeline | "One" >> beam.Create([1, 2])
        other = pipeline | "Other" >> beam.Create([3])
        assert ([one] | "Of one" >> beam.Flatten()) is one
        assert_that([one, other] | "Of two" >> beam.Flatten(), equal_to([1, 2, 3]))
