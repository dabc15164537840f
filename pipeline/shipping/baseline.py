"""Which blessed model a candidate is compared with: the last one from before it."""

from tfx import types
from tfx.dsl.components.common import resolver


class BlessedBeforeStrategy(resolver.ResolverStrategy):
    """The latest blessed model that is older than the candidate.

    TFX's LatestBlessedModelStrategy would, once a candidate is blessed and pushed, compare it with
    itself in the next run: the Evaluator's inputs would have changed, and an unchanged run would
    not be cached.

    Inputs: `candidate` (one Model), `model` and `model_blessing` (all of them). Outputs: the same
    keys, `model` and `model_blessing` with one artifact or none.
    """

    def resolve_artifacts(self, store, input_dict):
        """See the class."""
        (candidate,) = input_dict["candidate"]
        blessings = {
            blessing.get_int_custom_property("current_model_id"): blessing
            for blessing in input_dict["model_blessing"]
            if blessing.get_int_custom_property("blessed") == 1
        }
        earlier = [
            model
            for model in input_dict["model"]
            if model.id in blessings and model.id < candidate.id
        ]
        result: dict[str, list[types.Artifact]] = {
            "candidate": [candidate],
            "model": [],
            "model_blessing": [],
        }
        if earlier:
            model = max(earlier, key=lambda artifact: artifact.id)
            result |= {"model": [model], "model_blessing": [blessings[model.id]]}
        return result
