"""The price table: what machines cost, and what an estimate assumes."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from models.settings import NotNegative, Positive, Settings
from pipeline.config import explain
from pipeline.errors import UserError

_TABLE = Path(__file__).with_name("prices.json")


class Assumptions(Settings):
    """What the estimate assumes."""

    note: str = ""
    task_minutes: Positive
    training_start_minutes: NotNegative
    dataflow_start_minutes: NotNegative
    dataflow_images_per_worker_second: Positive
    training_images_per_second: dict[str, Positive]


class Prices(Settings):
    """A price table in USD, with its date and its sources."""

    note: str = ""
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    sources: tuple[str, ...]
    evidence: dict[str, str] = {}
    """How each figure was checked, and which ones were not."""
    run: NotNegative
    machine_hour: dict[str, NotNegative]
    dataflow_worker_hour: dict[str, NotNegative]
    assumptions: Assumptions


def load_prices(path: str | None) -> Prices:
    """Reads a price table.

    Args:
      path: a JSON file in the form of prices.json; None reads prices.json.

    Raises:
      UserError: the file can't be read, or is not a price table.
    """
    file = Path(path) if path else _TABLE
    try:
        return Prices.model_validate_json(file.read_text())
    except OSError as error:
        raise UserError(f"Could not read the price table {file}: {error.strerror}.") from error
    except ValidationError as error:
        raise UserError(
            f"{file} is not a price table like {_TABLE.name}: {explain(error)}"
        ) from error


def price_of(table: dict[str, float], name: str) -> float:
    """What a table says about a name.

    Raises:
      UserError: nothing; the message lists what it knows.
    """
    if name not in table:
        raise UserError(
            f"The price table has no {name}, only {', '.join(sorted(table))}. Add it to a copy of "
            "prices.json and pass that with --prices."
        )
    return table[name]
