from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIApplication

import pytest
from support.engine.controller import FakeController, world
from webob import Request, Response

from flowlane import tokens
from flowlane.core.effects import Report
from flowlane.northbound.app import ROUTES, make_app
from flowlane.northbound.http.access import OPEN, Access, Scope, TokenFile, host_name, is_loopback
from flowlane.northbound.http.routing import Route
from flowlane.tokens import Token

JSON = "application/json"
HINT = json.dumps({"hints": [{"class": "heavy"}]}).encode()
SECRETS = {name: f"flowlane_{name}" for name in ("reader", "operator", "web", "both", "old")}
TOKENS = [
    Token("reader", tokens.hash_of(SECRETS["reader"]), ("read",), 1.0),
    Token("operator", tokens.hash_of(SECRETS["operator"]), ("operate",), 1.0),
    Token("web", tokens.hash_of(SECRETS["web"]), ("hint:uuid-web",), 1.0),
    Token("both", tokens.hash_of(SECRETS["both"]), ("read", "hint:web"), 1.0),
    Token("old", tokens.hash_of(SECRETS["old"]), ("operate",), 1.0, expires=2.0),
]


@pytest.fixture
def controller() -> FakeController:
    return world()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.json"
    tokens.save(path, TOKENS)
    return path


@pytest.fixture
def app(controller: FakeController, file: Path) -> WSGIApplication:
    return make_app(controller, Access(TokenFile(file)))


def ask(
    app: WSGIApplication, path: str, method: str = "GET", token: str | None = None, **options: object
) -> Response:
    headers = dict(options.pop("headers", {}))  # type: ignore[call-overload]
    options["environ"] = {"RAW_PATH_INFO": path, **options.pop("environ", {})}  # type: ignore[dict-item]
    if token is not None:
        headers["Authorization"] = f"Bearer {SECRETS.get(token, token)}"
    return Request.blank(path, method=method, headers=headers, **options).get_response(app)


def put(app: WSGIApplication, path: str, token: str) -> int:
    if path.endswith("hints"):
        return int(ask(app, path, "PUT", token, body=HINT, content_type=JSON).status_int)
    return int(ask(app, path, "PUT", token, body=b"classes: a", content_type="application/yaml").status_int)


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/openapi.json", "/healthz", "/readyz"])
def test_what_is_nobodys_secret_needs_no_token(app: WSGIApplication, path: str) -> None:
    assert ask(app, path).status_int == 200


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_everything_else_needs_one(app: WSGIApplication, controller: FakeController, route: Route) -> None:
    path = route.path.format(
        dpid=f"{1:016x}", id="uuid-web", name="host1", port="uplink", queue="1", asset="page.js"
    )
    answer = ask(app, path, route.method, content_type=JSON)
    if route.needs is Scope.PUBLIC:
        assert answer.status_int == 200
        return
    assert answer.status_int == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="flowlane"'
    assert answer.content_type == "application/problem+json"
    assert controller.submitted == []


@pytest.mark.parametrize("token", ["", "nonsense", "old", "flowlane_\xff", "reader operator"])
def test_a_token_that_does_not_count(app: WSGIApplication, token: str) -> None:
    answer = ask(app, "/v1/status", token=token)
    assert answer.status_int == 401
    assert ('error="invalid_token"' in answer.headers["WWW-Authenticate"]) == bool(token)


def test_other_schemes_are_no_token(app: WSGIApplication) -> None:
    basic = {"Authorization": "Basic b3BlcmF0b3I6"}
    assert ask(app, "/v1/status", headers=basic).status_int == 401


def test_scopes(app: WSGIApplication, controller: FakeController) -> None:
    assert ask(app, "/v1/flows", token="reader").status_int == 200
    assert ask(app, "/metrics", token="reader").status_int == 200
    check = {"body": b"classes: a", "content_type": "application/yaml"}
    assert ask(app, "/v1/policy/check", "POST", "reader", **check).status_int == 200
    assert put(app, "/v1/policy", "reader") == 403
    assert put(app, "/v1/vms/uuid-web/hints", "reader") == 403
    assert controller.submitted == []
    assert ask(app, "/v1/flows", token="operator").status_int == 200
    assert put(app, "/v1/policy", "operator") == 200
    answer = ask(app, "/v1/policy", "PUT", "reader", **check)
    assert answer.json["detail"] == "token reader may not do this: it has read"
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


def test_hints_of_named_vms(app: WSGIApplication) -> None:
    for token in ("web", "both"):
        # By the name and by the id, whichever of them the token has.
        assert put(app, "/v1/vms/uuid-web/hints", token) == 200
        assert put(app, "/v1/vms/web/hints", token) == 200
        assert put(app, "/v1/vms/ns%2Fdb/hints", token) == 403
        assert put(app, "/v1/vms/none/hints", token) == 403
        assert put(app, "/v1/policy", token) == 403
    assert ask(app, "/v1/vms/uuid-web/hints", token="web").status_int == 200
    assert ask(app, "/v1/vms/web", token="web").status_int == 200
    assert ask(app, "/v1/vms/db", token="web").status_int == 403
    assert ask(app, "/v1/vms/db", token="both").status_int == 200
    for path in ("/v1/vms", "/v1/flows", "/v1/events", "/metrics", "/v1/policy"):
        assert ask(app, path, token="web").status_int == 403, path
    assert ask(app, "/v1/vms/uuid-web/hints", "DELETE", "web").status_int == 204


def test_a_hint_for_a_name_that_several_vms_have(app: WSGIApplication, controller: FakeController) -> None:
    """The second VM takes the name of the first: a token for the id does not get the other's hints."""
    number, db = next((number, vm) for number, vm in controller.state.vms.items() if vm.name == "db")
    controller.state.vms[number] = type(db)(db.number, db.id, "web", db.dpid, db.port_no, db.port_name)
    assert put(app, "/v1/vms/web/hints", "web") == 403
    assert put(app, "/v1/vms/ns%2Fdb/hints", "web") == 403
    assert put(app, "/v1/vms/uuid-web/hints", "web") == 200


def test_the_file_is_read_again_when_it_changes(
    app: WSGIApplication, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens.save(file, TOKENS[1:])
    assert ask(app, "/v1/status", token="reader").status_int == 401
    tokens.save(file, TOKENS)
    assert ask(app, "/v1/status", token="reader").status_int == 200
    file.write_text("{")
    assert ask(app, "/v1/status", token="reader").status_int == 401
    assert "is no such file" in caplog.text
    assert caplog.text.count("REST admits nobody until that is mended") == 1
    file.unlink()
    assert ask(app, "/v1/status").status_int == 200, "nobody has asked for tokens"


def test_tokens_that_are_asked_for_are_needed_without_their_file(
    controller: FakeController, tmp_path: Path
) -> None:
    app = make_app(controller, Access(TokenFile(tmp_path / "none", is_required=True)))
    assert ask(app, "/v1/status").status_int == 401
    tokens.save(tmp_path / "none", TOKENS)
    assert ask(app, "/v1/status", token="reader").status_int == 200


def test_tokens_are_needed_from_the_first_one_on(controller: FakeController, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    app = make_app(controller, Access(TokenFile(path)))
    assert ask(app, "/v1/status").status_int == 200
    tokens.save(path, TOKENS)
    assert ask(app, "/v1/status").status_int == 401
    tokens.save(path, [])
    assert ask(app, "/v1/status", token="reader").status_int == 401, "the last one was removed"


class Shared:
    """Tokens of a database that the first copy has not come of."""

    def __init__(self) -> None:
        self.problem = "the database does not reply"
        self.is_in_use = True
        self.tokens: Sequence[tokens.Token] = ()

    def find(self, secret: str) -> tokens.Token | None:
        return tokens.find(self.tokens, secret, 0.0)


def test_tokens_of_the_database_count_as_those_of_the_file_do(controller: FakeController, file: Path) -> None:
    shared = Shared()
    app = make_app(controller, Access(None, (), shared))
    refused = ask(app, "/v1/status", token="reader")
    assert (refused.status_int, refused.headers["Retry-After"]) == (503, "1")
    assert "the database does not reply" in refused.json["detail"]
    assert (
        ask(
            make_app(controller, Access(TokenFile(file), (), shared)), "/v1/status", token="reader"
        ).status_int
        == 200
    )
    shared.problem, shared.tokens = "", TOKENS
    assert [ask(app, "/v1/status", token=name).status_int for name in ("reader", "nobody")] == [200, 401]
    assert put(app, "/v1/policy", "reader") == 403
    events = ask(app, "/v1/events", token="reader")
    assert events.status_int == 200
    shared.tokens, shared.is_in_use = (), False
    assert ask(app, "/v1/status").status_int == 200


def test_events_end_with_the_token(app: WSGIApplication, file: Path) -> None:
    answer = ask(app, "/v1/events", token="reader")
    lines = iter(answer.app_iter)
    assert next(lines).startswith(b": flowlane")
    tokens.save(file, TOKENS[1:])
    assert list(lines) == []


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST.",
        "flowlane.localhost:8080",
        "127.0.0.1:8080",
        "127.8.9.1",
        "10.0.0.5:8080",
        "[::1]:8080",
        "[fe80::1%25eth0]",
        "ctl.example.org:443",
        "CTL.example.org",
    ],
)
def test_names_of_the_controller(controller: FakeController, host: str) -> None:
    app = make_app(controller, Access(hosts=["ctl.example.org"]))
    assert ask(app, "/v1/status", headers={"Host": host}).status_int == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "x",
        "[x]",
        "@",
    ],
)
@pytest.mark.parametrize("path", ["/", "/v1/status", "/nothing"])
def test_a_name_of_somebody_elses_is_refused(controller: FakeController, host: str, path: str) -> None:
    """DNS rebinding: a site has its own name resolve to 127.0.0.1, and its page asks for /v1/policy."""
    app = make_app(controller, Access(hosts=["ctl.example.org"]))
    answer = ask(app, path, headers={"Host": host})
    assert (answer.status_int, answer.json["field"]) == (421, "Host")
    assert "--rest-host" in answer.json["detail"]
    assert (
        ask(make_app(controller, Access(hosts=["*"])), "/v1/status", headers={"Host": host}).status_int == 200
    )


SAME = {"Host": "localhost:8080"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8080"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://localhost:8080"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:9999"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost"}, 403),
        ({"Origin": "http://localhost:8081"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
def test_pages_of_other_sites_change_nothing(
    controller: FakeController, headers: dict[str, str], status: int
) -> None:
    app = make_app(controller)
    yaml = "application/yaml"
    answer = ask(app, "/v1/policy", "PUT", headers={**SAME, **headers}, body=b"classes: a", content_type=yaml)
    assert answer.status_int == status
    assert bool(controller.submitted) == (status == 200)
    # What is read, another site's page cannot see: no answer has Access-Control-Allow-Origin.
    answer = ask(app, "/v1/policy", headers={**SAME, **headers})
    assert answer.status_int == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_no_change_by_a_form() -> None:
    """A route that changes something by POST reads no media type that a form of another site can send."""
    simple = {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"}
    changing = [route for route in ROUTES if route.method == "POST" and route.needs is not Scope.READ]
    assert [route.path for route in changing if simple & set(route.accepts)] == []
    for kind in simple:
        request = Request.blank("/", method="POST", headers={"Host": "localhost", "Content-Type": kind})
        with pytest.raises(Exception, match="is read here"):
            OPEN.check_origin(request, reads_body=False)


def test_who_changed_the_policy_is_in_rest_and_in_the_events(
    app: WSGIApplication, controller: FakeController
) -> None:
    options = {
        "body": b"classes: a",
        "content_type": "application/yaml",
        "environ": {"REMOTE_ADDR": "10.0.0.5"},
    }
    change = ask(app, "/v1/policy", "PUT", "operator", **options).json
    view = ask(app, "/v1/policy", token="operator").json
    assert (change["kept"], view["hash"]) == (True, change["hash"])
    assert view["origin"] == {
        "source": "rest",
        "time": "2027-01-15T08:00:00.000Z",
        "by": "operator",
        "address": "10.0.0.5",
        "file": None,
        "kept": True,
    }
    (report,) = [entry.report for entry in controller.feed.since(0, frozenset(("policy",)))]
    assert isinstance(report, Report)
    assert report.text == f"the policy was replaced by operator from 10.0.0.5: rest {view['hash'][:12]}"
    assert report.data["by"] == "operator"
    controller.keeps = False
    assert ask(app, "/v1/policy", "PUT", "operator", **options).json["kept"] is False
    assert ask(app, "/v1/policy", token="operator").json["origin"]["kept"] is False


def test_changes_are_logged_with_who_made_them(
    app: WSGIApplication, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "flowlane.northbound.http.dispatch")
    at: Any = {"environ": {"REMOTE_ADDR": "10.0.0.5"}}
    ask(app, "/v1/vms/web/hints", "PUT", "web", body=HINT, content_type=JSON, **at)
    ask(app, "/v1/policy", "PUT", "operator", body=b"classes: a", content_type="application/yaml", **at)
    ask(app, "/v1/policy", "PUT", "operator", body=b"bad", content_type="application/yaml", **at)
    ask(app, "/v1/policy", token="operator", **at)
    changes = [record for record in caplog.records if record.name == "flowlane.northbound.http.dispatch"]
    assert [(record.levelname, record.getMessage()) for record in changes] == [
        ("DEBUG", "REST: PUT /v1/vms/web/hints by web from 10.0.0.5: 200"),
        ("INFO", "REST: PUT /v1/policy by operator from 10.0.0.5: 200"),
    ]


def test_refusals_are_logged_once_a_minute(app: WSGIApplication, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        ask(app, "/v1/vms/%1b%0a", token="nonsense\x1b")
    (record,) = [record for record in caplog.records if record.name == "flowlane.northbound.http.access"]
    assert "REST refused GET /v1/vms/" in record.getMessage()
    assert record.getMessage().isprintable()
    assert SECRETS["operator"] not in caplog.text


def test_hosts_and_loopback() -> None:
    assert [host_name(text) for text in ("a:80", "[::1]:80", "A.b.", "a")] == ["a", "::1", "a.b", "a"]
    assert [is_loopback(text) for text in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "host")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
