import pytest

from flowlane.core.classify.matching import selects
from flowlane.core.model import Vm
from flowlane.core.policy import VmSelector

WEB = Vm(7, "3f2c-uuid", "web-1", 1, 3, "vnet3", external_ids={"owner": "tenant-a", "tier": "front"})


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, True),
        (VmSelector(), True),
        (VmSelector(("web-1",)), True),
        (VmSelector(("web-*",)), True),
        (VmSelector(("3f2c-*",)), True),
        (VmSelector(("WEB-1",)), False),
        (VmSelector(("vnet3",)), False),
        (VmSelector(("db-*", "web-?")), True),
        (VmSelector((), (("owner", "tenant-a"),)), True),
        (VmSelector((), (("owner", "tenant-*"), ("tier", "front"))), True),
        (VmSelector((), (("owner", "tenant-*"), ("tier", "back"))), False),
        (VmSelector((), (("missing", "*"),)), False),
        (VmSelector(("db-*",), (("owner", "tenant-a"),)), False),
        (VmSelector(("web-*",), (("owner", "tenant-a"),)), True),
    ],
)
def test_selects(selector: VmSelector | None, expected: bool) -> None:
    assert selects(selector, WEB) is expected


def test_traffic_of_no_vm_is_taken_by_all_only() -> None:
    assert selects(VmSelector(), None)
    assert not selects(VmSelector(("*",)), None)
