"""The page on a live controller under changing load: it shows what REST says, and does what it is asked for."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from support.page.browser import escaped, rate, tab
from support.page.network import DPIDS, EX, HOSTILE, INT, PLAIN, POLICY, Stream

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from support.page.browser import View
    from support.page.network import Network

pytestmark = pytest.mark.page

BRIDGE = f"{DPIDS[EX]:016x}"
QUEUES = f"/v1/devices/{BRIDGE}/queues"


def heaviest(network: Network) -> dict[str, Any]:
    """The assignment of the flow with the highest rate at the uplink."""
    items = network.items(f"/v1/assignments?device={EX}&limit=1000")
    return max((item for item in items if item["vm_name"] == "build-7"), key=lambda item: item["rate"])


def lane(queue: dict[str, Any]) -> str:
    """The label of a queue's lane."""
    kind = "software " if queue["kind"] == "software" else ""
    capacity = f" of {rate(queue['max_rate'])}" if queue["max_rate"] else ""
    parts = [
        f"{kind}queue {queue['queue_id']} of {queue['port']}",
        f"on {EX}: {rate(queue['load'])}{capacity}",
        f"{queue['flows']} flow{'s' * (queue['flows'] != 1)}",
        f"class {', '.join(queue['classes'])}" if queue["classes"] else "",
        "exclusive" if queue["exclusive"] else "",
        queue["admission"] if queue["admission"] != "open" else "",
    ]
    return ", ".join(filter(None, parts))


def lanes(view: View) -> list[str | None]:
    return [item.get_attribute("aria-label") for item in view.page.locator("a.lane").all()]


def is_heavy(network: Network, stream: Stream) -> bool:
    items = network.items(f"/v1/assignments?device={EX}&src_port={stream.src_port}")
    return any(item["class"] == "heavy" and item["rate"] > 1e6 for item in items)


def test_lanes_are_the_queues_of_rest_while_the_load_changes(view: View, network: Network) -> None:
    view.go("", "Lanes")
    labels = view.agrees(QUEUES, lambda: lanes(view), lambda page: [lane(item) for item in page["items"]])
    assert len(list(labels)) == 8  # type: ignore[call-overload]
    extra = Stream(network.vms["build-7"], 40099, 443, 2.5e6)
    network.traffic.streams.append(extra)
    try:
        network.wait(lambda: is_heavy(network, extra), "the new flow is not heavy")
        view.agrees(QUEUES, lambda: lanes(view), lambda page: [lane(item) for item in page["items"]])
    finally:
        network.traffic.streams.remove(extra)
    # The height of a lane is load over capacity; hardware and software are apart.
    view.agrees(
        QUEUES,
        lambda: [
            float(item.get_attribute("data-share") or "-1") for item in view.page.locator(".track").all()
        ],
        lambda page: [round(min(1, item["load"] / item["max_rate"]), 4) for item in page["items"]],
    )
    assert view.texts(".group h4") == ["Hardware queues", "Software queues"]
    assert view.page.locator(".group.software a.lane").count() == 2


def test_names_that_others_chose_are_text(view: View, network: Network) -> None:
    view.go("#/vms", "VMs")
    shown = view.agrees(
        "/v1/vms?limit=100",
        lambda: view.texts("tbody td:first-child"),
        lambda page: [" ".join(escaped(item["name"]).split()) for item in page["items"]],
    )
    assert len(list(shown)) == len(PLAIN) + len(HOSTILE)  # type: ignore[call-overload]
    for name, vm in HOSTILE.items():
        view.go(f"#/vms?vm={quote(vm, safe='')}")
        view.page.locator(".panel h2", has_text=escaped(name)[:40]).wait_for()
        id_row = view.page.locator(
            ".panel .facts div", has=view.page.locator("dt", has_text=re.compile("^id$"))
        )
        assert " ".join(id_row.locator("dd").inner_text().split()) == escaped(vm)
        assert view.page.url.endswith(quote(vm, safe="")) or vm in view.page.url
    view.go("#/flows", "Flows")
    view.page.locator("tbody tr").first.wait_for()
    assert view.page.locator("script, img").count() == 2  # the page's own script, and its icon
    assert view.page.evaluate("document.querySelectorAll('b > *, u').length") == 0


def rows(view: View) -> list[tuple[str, str, str]]:
    """Flow, class and rate of each row."""
    cells = view.page.evaluate("""() => [...document.querySelectorAll("table.flows tbody tr")].map((row) =>
        [row.dataset.flow, row.cells[2].innerText.trim(), row.cells[3].innerText.trim()])""")
    return [tuple(row) for row in cells]


def test_flows_are_searched_and_sorted_by_the_server(view: View, network: Network) -> None:
    view.go("#/flows", "Flows")
    path = "/v1/flows?sort=-rate&limit=100"
    shown = view.agrees(
        path,
        lambda: rows(view),
        lambda page: [(item["id"], item["class"], rate(item["rate"])) for item in page["items"]],
    )
    rates = [item["rate"] for item in view.answer(path)["items"]]
    assert rates == sorted(rates, reverse=True)
    assert len(list(shown)) > 30  # type: ignore[call-overload]
    view.page.get_by_role("button", name="Bytes").click()
    view.answer("/v1/flows?sort=-bytes&limit=100")
    assert view.page.locator("th[aria-sort=descending]").inner_text().startswith("Bytes")

    search = view.page.get_by_label("Search flows")
    search.fill(f"build-7 udp 443 10.0.0.{network.vms['build-7']}")
    search.press("Enter")
    address = f"10.0.0.{network.vms['build-7']}"
    path = f"/v1/flows?vm=build-7&proto=udp&address={address}&l4_port=443&sort=-bytes&limit=100"
    view.agrees(path, lambda: len(rows(view)), lambda page: len(page["items"]))
    assert {item["vm_name"] for item in view.answer(path)["items"]} == {"build-7"}
    assert sorted(view.texts(".chips button")) == [
        "address: " + address + " ✕",
        "l4_port: 443 ✕",
        "proto: udp ✕",
        "vm: build-7 ✕",
    ]
    # What a filter names and is not there is an answer, too.
    view.page.get_by_role("link", name="all flows").click()
    search.fill("vm=no-such-vm")
    search.press("Enter")
    view.page.get_by_role("alert").filter(has_text="there is no VM 'no-such-vm'").wait_for()
    # The queue of a flow is asked for by port and queue.
    view.go("#/flows?device=br-ex&port=uplink&queue=2")
    path = "/v1/assignments?device=br-ex&port=uplink&queue=2&sort=-rate&limit=100"
    view.agrees(
        path, lambda: [row[0] for row in rows(view)], lambda page: [item["flow"] for item in page["items"]]
    )


def test_a_flow_is_explained_by_one_click_and_stays_chosen(view: View, network: Network) -> None:
    flow = heaviest(network)["flow"]
    view.go("#/flows", "Flows")
    view.page.locator(f'tr[data-flow="{flow}"] a.flow').click()
    view.page.get_by_role("heading", name="Its way").wait_for()
    told = view.answer(f"/v1/flows/{flow}/explain")
    assert [told["way"][place]["device_name"] for place in range(3)] == ["br-int", "br-ex", "tor1"]
    assert view.texts("ol.way li a") == ["br-int", "br-ex", "tor1"]
    at_uplink = next(item for item in told["devices"] if item["device_name"] == EX)
    why = " ".join(
        view.page.locator("section.why", has=view.page.get_by_role("heading", name=f"Why on {EX}"))
        .inner_text()
        .split()
    )
    assert at_uplink["reason"] in why
    assert at_uplink["rule"] in why
    assert f"Queue {at_uplink['queue_id']} of uplink" in why
    view.page.reload()
    view.page.get_by_role("heading", name="Its way").wait_for()
    assert view.page.locator("tr.current").get_attribute("data-flow") == flow
    # A reading later it is still the same element: what is chosen and has the focus is not lost.
    view.page.evaluate("document.querySelector('tr.current').marked = true")
    view.page.locator("tr.current a.flow").focus()
    view.answers.clear()
    view.answer(f"/v1/flows/{flow}")
    view.answer("/v1/flows?sort=-rate&limit=100")
    assert view.page.evaluate(
        "document.querySelector('tr.current').marked && document.activeElement.classList.contains('flow')"
    )


def test_a_pin_is_given_and_taken_back(view: View, network: Network) -> None:
    flow = heaviest(network)["flow"]
    view.go(f"#/flows?flow={flow}")
    pins = view.page.get_by_role("region", name="Pins by hand")
    pins.locator("select").first.select_option("7")
    pins.get_by_label("For").select_option("600")
    pins.get_by_role("button", name="Pin").click()
    pins.get_by_text("pinned by hand").wait_for()
    (pin,) = network.rest(f"/v1/flows/{flow}/pin")["pins"]
    assert (pin["device_name"], pin["queue_id"], pin["in_force"]) == (EX, 7, True)
    assert network.queues()[7]["flows"] == 1
    pins.get_by_role("button", name="take back").click()
    pins.get_by_text("The pin was taken back.").wait_for()
    assert network.rest(f"/v1/flows/{flow}/pin")["pins"] == []


def test_a_queue_is_cordoned_drained_and_opened(view: View, network: Network) -> None:
    queue = next(number for number, item in network.queues().items() if item["class"] == "small")
    view.go(f"#/lanes?lane={BRIDGE}/52/{queue}")
    region = view.page.get_by_role("region", name="Out of service")
    region.get_by_role("button", name="Cordon").click()
    label = re.compile(f"^queue {queue} of uplink.*cordoned$")
    view.page.get_by_role("link", name=label).wait_for()
    assert network.queues()[queue]["admission"] == "cordoned"
    region.get_by_role("button", name="Drain").click()
    view.wait(lambda: network.queues()[queue]["admission"] in ("draining", "drained"), "it is not drained")
    region.get_by_role("button", name="Open again").click()
    view.wait(lambda: network.queues()[queue]["admission"] == "open", "it is not open")
    view.agrees(QUEUES, lambda: lanes(view), lambda page: [lane(item) for item in page["items"]])


def test_a_hint_is_given_and_taken_back(view: View, network: Network) -> None:
    view.go("#/vms?vm=mail")
    hints = view.page.get_by_role("region", name="Hints")
    hints.get_by_text("Give a hint").click()
    hints.get_by_label("Class").select_option("voice")
    hints.get_by_label("Destination port").fill("25")
    hints.get_by_role("button", name="Give the hint").click()
    hints.get_by_text("for dst-port 25").wait_for()
    (hint,) = network.rest("/v1/vms/mail/hints")["hints"]
    assert (hint["class"], hint["match"], hint["source"]) == ("voice", {"dst-port": 25}, "rest")
    hints.get_by_role("button", name=re.compile("Take back the hint for voice")).click()
    hints.get_by_text("No hint was given").wait_for()
    assert network.rest("/v1/vms/mail/hints")["hints"] == []
    # What is refused says why.
    hints.get_by_label("Destination", exact=True).fill("no-address")
    hints.get_by_role("button", name="Give the hint").click()
    hints.locator(".note.bad").wait_for()


def test_events_appear_as_they_happen(view: View, network: Network) -> None:
    view.go("#/events", "Events")
    view.page.get_by_role("status").filter(has_text="live").wait_for()
    view.page.get_by_label("policy").set_checked(True)
    network.put_policy(POLICY.replace("priority: 5", "priority: 6"))
    view.page.locator("ol.events li.policy").first.wait_for()
    newest = view.texts("ol.events li.policy .text")[0]
    kept = requests.get(
        f"{network.url}/v1/events?kind=policy&last=1", headers={"Accept": "application/json"}, timeout=10
    ).json()
    assert newest == " ".join(escaped(kept["items"][0]["text"]).split())
    for kind in ("flow", "assignment", "move"):
        view.page.get_by_label(kind, exact=True).set_checked(False)
    view.wait(
        lambda: set(view.texts("ol.events .badge")).isdisjoint({"flow", "assignment", "move"}),
        "other kinds are shown",
    )
    # An event that has just come is shown with the pause; those that come in it are not, when it would be their turn.
    network.put_policy(POLICY.replace("priority: 5", "priority: 7"))
    view.page.get_by_role("button", name="Pause").click()
    newest = view.texts("ol.events li.policy .text")[0]
    network.put_policy(POLICY)
    view.page.get_by_role("status").filter(has_text=re.compile(r"paused; [1-9]")).wait_for()
    view.page.wait_for_timeout(500)
    assert view.texts("ol.events li.policy .text")[0] == newest
    count = view.page.locator("ol.events li.policy").count()
    view.page.get_by_role("button", name="Go on").click()
    view.wait(
        lambda: view.page.locator("ol.events li.policy").count() > count, "what came meanwhile is not shown"
    )


def test_the_policy_is_checked_and_replaced_after_its_differences_were_shown(
    view: View, network: Network
) -> None:
    view.go("#/policy", "Policy")
    assert view.page.get_by_role("region", name="The policy as YAML").text_content() == POLICY
    view.page.get_by_role("button", name="Edit").click()
    editor, replace = (
        view.page.get_by_label("Policy as YAML"),
        view.page.get_by_role("button", name="Replace the policy"),
    )
    check = view.page.get_by_role("button", name="Check")
    editor.fill(POLICY.replace("limit: 1500kbit/s", "limit: fast"))
    check.click()
    mistakes = view.page.get_by_role("list", name="Mistakes")
    mistakes.wait_for()
    line = POLICY.splitlines().index("    limit: 1500kbit/s") + 1
    assert f"line {line}" in mistakes.inner_text()
    assert replace.is_disabled()
    mistakes.get_by_role("button", name=f"line {line}").click()
    assert (
        view.page.evaluate(
            "(({value, selectionStart: from, selectionEnd: to}) => value.slice(from, to))(document.activeElement)"
        )
        == "    limit: fast"
    )

    better = POLICY.replace("limit: 1500kbit/s", "limit: 2Mbit/s").replace(
        "default: small", 'default: small\n\nport-security: "off"'
    )
    editor.fill(better)
    view.page.reload()
    assert editor.input_value() == better  # the draft survives a reload
    check.click()
    changes = view.page.get_by_role("region", name="Differences", exact=True)
    changes.wait_for()
    assert "changed class backup" in " ".join(changes.inner_text().split())
    assert "changed setting port-security" in " ".join(changes.inner_text().split())
    diff = view.page.get_by_role("region", name="Lines that differ").inner_text()
    assert "-     limit: 1500kbit/s" in diff
    assert "+     limit: 2Mbit/s" in diff
    assert network.rest("/v1/policy")["text"] == POLICY

    # Somebody else is quicker: what was checked is no longer true.
    other = POLICY.replace("priority: 5", "priority: 7")
    network.put_policy(other)
    view.wait(replace.is_disabled, "a policy that was checked against another one may be put")
    check.click()
    changes.get_by_text("class voice").wait_for()
    replace.click()
    view.page.get_by_role("status").filter(has_text="The policy was replaced").wait_for()
    assert network.rest("/v1/policy")["text"] == better
    view.agrees(
        "/v1/policy",
        lambda: view.page.locator("pre.document").text_content(),
        lambda policy: policy["text"],
    )
    network.put_policy(POLICY)


def test_the_topology_is_drawn_and_told(view: View, network: Network) -> None:
    view.go("#/topology", "Topology")
    view.page.locator("svg a.box").first.wait_for()
    topology = network.rest("/v1/topology")
    assert sorted(view.texts("svg .device-name")) == sorted(item["name"] for item in topology["devices"])
    assert view.page.locator("svg g.link.up").count() == len(topology["links"])
    ends = [
        tuple(f"{end['device_name']} {end['port']}" for end in link["ends"]) for link in topology["links"]
    ]
    told = [
        tuple(view.page.locator(f"tbody tr:nth-child({row + 1}) td").all_inner_texts()[:2])
        for row in range(len(ends))
    ]
    assert told == ends
    view.page.get_by_role("link", name=re.compile(f"^{INT}, vswitch, connected")).click()
    view.page.get_by_role("heading", name=INT, exact=True, level=2).wait_for()
    view.page.get_by_role("button", name="Larger").click()
    assert view.page.get_by_text("150 %").is_visible()


def test_a_lane_has_its_last_hour_and_its_flows(view: View, network: Network) -> None:
    queue = heaviest(network)["queue_id"]
    view.go(f"#/lanes?lane={BRIDGE}/{DPIDS[EX] + 50}/{queue}")
    view.page.get_by_role("heading", name=f"Queue {queue} of uplink").wait_for()
    charts = view.page.locator("figure.chart canvas")
    view.wait(lambda: charts.count() == 3, "there are no charts")
    told = view.page.get_by_role("img", name=re.compile("^Load, last hour: now .* highest .* mean"))
    assert told.count() == 1
    view.page.get_by_role("heading", name="Largest flows").wait_for()
    flows = view.answer(f"/v1/assignments?device={BRIDGE}&port=52&queue={queue}&sort=-rate&limit=20")["items"]
    assert [item["vm_name"] for item in flows] == ["build-7"]
    # Each lane has the hour, too.
    view.wait(lambda: view.page.locator("a.lane svg.spark polyline").count() == 8, "there are no sparklines")


VIEWS = {
    "lanes": "#/lanes",
    "queue": f"#/lanes?lane={BRIDGE}/52/0",
    "flows": "#/flows?vm=mail",
    "flow": "#/flows?flow={flow}",
    "vms": "#/vms?vm=mail",
    "topology": f"#/topology?device={BRIDGE}",
    "devices": "#/devices",
    "events": "#/events?kind=device,vm,link,policy",
    "policy": "#/policy",
}
READY = {
    "queue": "figure.chart canvas", "flow": "ol.way", "flows": "tbody tr", "vms": ".panel .facts",
    "topology": "svg a.box", "devices": "tbody tr", "events": "ol.events li", "policy": "pre.document",
    "lanes": "a.lane svg.spark polyline",
}  # fmt: skip
"""What shows that a view has what it needs."""

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}


def open_view(view: View, network: Network, name: str) -> None:
    view.go(VIEWS[name].format(flow=heaviest(network)["flow"]))
    view.page.locator(READY[name]).first.wait_for()


@pytest.mark.parametrize("name", VIEWS)
def test_everybody_can_use_it(view: View, network: Network, name: str) -> None:
    """axe-core finds nothing in light and dark, on a desktop and on a phone; nothing is wider than the phone."""
    open_view(view, network, name)
    found = []
    for size, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
        view.page.set_viewport_size(size)  # type: ignore[arg-type]
        view.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        view.page.wait_for_timeout(100)
        for violation in Axe().run(view.page).response["violations"]:
            found += [(violation["id"], scheme, node["html"][:200]) for node in violation["nodes"]]
    assert found == []
    assert view.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


IMAGES = Path(__file__).parents[2] / "docs" / "images"
PICTURES = {
    "page-lanes": (f"#/lanes?lane={BRIDGE}/52/{{queue}}", "figure.chart canvas"),
    "page-flow": ("#/flows?flow={flow}", "ol.way"),
    "page-topology": (f"#/topology?device={BRIDGE}", ".panel .facts"),
    "page-policy": ("#/policy", "pre.diff"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_screenshots(browser: Browser, network: Network, tmp_path: Path, name: str) -> None:
    """FLOWLANE_SCREENSHOTS=yes has the pictures of docs/operators/page.md written; else they go to a temporary file."""
    heavy = heaviest(network)
    address, ready = PICTURES[name]
    with tab(
        browser,
        network.url,
        width=1400 if name == "page-lanes" else 1200,
        height=1150 if name == "page-policy" else 760,
    ) as view:
        view.go(address.format(flow=heavy["flow"], queue=heavy["queue_id"]))
        if name == "page-policy":
            view.page.get_by_role("button", name="Edit").click()
            view.page.get_by_label("Policy as YAML").fill(
                POLICY.replace("limit: 1500kbit/s", "limit: 3Mbit/s")
            )
            view.page.get_by_role("button", name="Check").click()
            view.page.get_by_role("region", name="Differences", exact=True).wait_for()
        view.page.locator(ready).first.wait_for()
        view.page.wait_for_timeout(800)  # a lane's height changes slowly
        path = (IMAGES if "FLOWLANE_SCREENSHOTS" in os.environ else tmp_path) / f"{name}.png"
        view.page.screenshot(path=path)
        assert path.stat().st_size > 10_000


def test_keys_alone_are_enough(view: View) -> None:
    view.go("", "Lanes")
    view.page.locator("a.lane").first.wait_for()
    page = view.page

    def focused() -> str:
        return str(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.innerText"
            )
        )

    page.keyboard.press("Tab")
    assert focused() == "Skip to the content"
    page.keyboard.press("Enter")
    assert focused() == "Lanes"
    for _ in range(10):
        page.keyboard.press("Tab")
        if focused().startswith("queue 0"):
            break
    assert focused().startswith("queue 0 of uplink")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    view.wait(lambda: focused() == "Queue 0 of uplink", "the panel has no focus")
    page.keyboard.press("Escape")
    view.wait(lambda: focused().startswith("queue 0 of uplink"), "the focus is not where it was")
    view.go("#/flows", "Flows")
    page.keyboard.press("/")
    assert focused().startswith("Search flows")
    page.keyboard.type("web-1")
    page.keyboard.press("Enter")
    view.wait(lambda: view.texts(".chips button") == ["vm: web-1 ✕"], "nothing was searched")
    view.wait(lambda: len(rows(view)) == 8, "web-1 has eight flows")
    page.locator("a.flow").first.focus()
    page.keyboard.press("Enter")
    view.wait(lambda: focused().startswith("udp"), "the panel has no focus")


def test_what_is_stale_or_gone_is_said(view: View, network: Network) -> None:
    view.go("#/vms?vm=web-2")
    view.page.locator(".panel .facts").first.wait_for()
    view.page.context.set_offline(True)
    view.page.get_by_role("alert").filter(has_text="The controller does not answer").wait_for()
    assert re.search(r"What you see is of \d\d:\d\d:\d\d", view.page.get_by_role("alert").first.inner_text())
    assert view.page.locator("main.stale").count() == 1
    view.page.context.set_offline(False)
    view.wait(lambda: view.page.locator("main.stale").count() == 0, "it does not come back")
    # A flow that ends while it is looked at.
    flow = next(item for item in network.items("/v1/flows?vm=web-2&limit=1000") if item["src_port"])
    view.go(f"#/flows?flow={flow['id']}")
    view.page.get_by_role("heading", name="Its way").wait_for()
    network.traffic.streams = [one for one in network.traffic.streams if one.vm != network.vms["web-2"]]
    network.ovs.vsctl("del-port", INT, f"tap{network.vms['web-2']}")
    view.page.get_by_role("alert").or_(view.page.get_by_role("status")).filter(
        has_text="This flow is gone; what you see is of"
    ).wait_for()
    assert view.page.locator(".panel.gone").count() == 1
    # A device that loses its connection.
    network.ovs.vsctl("del-controller", EX)
    view.go("", "Lanes")
    view.page.get_by_text(re.compile("disconnected for .*: figures are of then")).wait_for()
    assert view.page.locator("section.device.gone a.lane").count() == 8
