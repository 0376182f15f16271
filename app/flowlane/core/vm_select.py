"""Which VMs a policy's selector means."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowlane.core.model import Vm
    from flowlane.core.policy import VmSelector


def selects(selector: VmSelector | None, vm: Vm | None) -> bool:
    """Whether the selector takes the VM; ``vm`` None is traffic of no known VM, which only "all" takes.

    One of the names must fit the VM's id or name, and every external id must be there with a value that
    fits; what the selector leaves empty is not asked for.
    """
    if selector is None or not (selector.names or selector.external_ids):
        return True
    if vm is None:
        return False
    return _named(selector.names, vm) and all(
        key in vm.external_ids and fnmatchcase(vm.external_ids[key], glob)
        for key, glob in selector.external_ids
    )


def _named(globs: tuple[str, ...], vm: Vm) -> bool:
    return not globs or any(fnmatchcase(vm.id, glob) or fnmatchcase(vm.name, glob) for glob in globs)
