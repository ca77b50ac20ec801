"""`llmzoo up --restart`: asks the zoo that runs to replace some of its services.

Owns the exit codes: 0 when all of them run anew, 1 with the reason otherwise, 130 for Ctrl-C.
The work is done by the supervisor that is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.cli.up.console import Console
from services.cli.up.control import order_restart
from services.cli.up.lock import UpLock
from services.cli.up.restarts import CONFIGURATION_EXIT_CODE
from services.cli.up.state import private_folder
from services.cli.up.supervisor import INTERRUPTED_EXIT_CODE
from shared.errors import ConfigurationError, RestartFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.settings import ZooSettings


def run_restart(settings: ZooSettings, names: Sequence[str], port_offset: int) -> int:
    """Have the services of these roles or names replaced, one after the other.

    Args:
        settings: what the environment says; it finds the zoo.
        names: roles, names as `worker-2`, or `all`.
        port_offset: of the zoo.
    """
    console = Console()
    try:
        lock = UpLock(private_folder(settings.state_dir), port_offset)
    except ConfigurationError as fault:
        console.error(fault.message)
        return CONFIGURATION_EXIT_CODE
    if lock.is_free():
        console.error("nothing is running here, so nothing can be restarted")
        return 1
    try:
        for told in order_restart(lock.control, names):
            console.say(told)
    except RestartFailed as fault:
        console.error(fault.message)
        return 1
    except KeyboardInterrupt:
        console.say("not waited for any more; what has not begun is left as it is")
        return INTERRUPTED_EXIT_CODE
    return 0
