"""The form of a schedule's cron line."""

from pipeline.errors import UserError

_FIELDS = 5


def check_cron(cron: str) -> None:
    """Checks that a line has the fields of a cron line; the service checks what is in them.

    Args:
      cron: five fields, perhaps after "TZ=Europe/Berlin "; UTC otherwise.

    Raises:
      UserError: it has not.
    """
    fields = cron.split()
    if fields and fields[0].startswith(("TZ=", "CRON_TZ=")):
        fields = fields[1:]
    if len(fields) != _FIELDS:
        raise UserError(
            "Expected five fields, minute hour day month weekday. "
            f'Received: --cron "{cron}". For example "0 3 * * 1": Mondays at three, UTC.'
        )
