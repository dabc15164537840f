"""Statistics as StatisticsGen writes them."""

import os

import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import artifact_utils, standard_artifacts


@pytest.fixture
def statistics_of(tmp_path):
    """Makes an ExampleStatistics artifact from the columns of each split."""

    def make(**splits):
        artifact = standard_artifacts.ExampleStatistics()
        artifact.uri = str(tmp_path / "statistics")
        artifact.split_names = artifact_utils.encode_split_names(list(splits))
        for split, columns in splits.items():
            folder = artifact_utils.get_split_uri([artifact], split)
            os.makedirs(folder)
            statistics = tfdv.generate_statistics_from_dataframe(pd.DataFrame(columns))
            path = os.path.join(folder, stats_artifact_utils.BINARY_PB_BASENAME)
            with open(path, "wb") as file:
                file.write(statistics.SerializeToString())
        return artifact

    return make
