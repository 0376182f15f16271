"""The command ``flowlane-manager``: runs Flowlane and other os-ken apps, as ryu-manager did."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flowlane import hub, stdio


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the apps that the arguments name until SIGINT or SIGTERM.

    Returns:
        The exit code: 0 after a clean stop, 1 when something could not start; argparse exits with 2.
    """
    hub.prepare()
    # Imported only now, since it imports os-ken, which chooses its hub at import.
    from flowlane.launch import launch  # noqa: PLC0415

    return stdio.run("flowlane-manager", lambda: launch(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
