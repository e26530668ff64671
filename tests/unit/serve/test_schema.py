"""Every operation of the description, with what it allows and with what it doesn't."""

from __future__ import annotations

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from served import ADDRESS, draw_world

from ruichat.serve.app import create_app
from ruichat.serve.settings import ServeSettings
from ruichat.storage.database import users

load_all_checks()

ALWAYS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)

MEANING = {
    "POST /api/v1/slides/{slide_id}/regions": "corners must enclose an area on the slide",
    "POST /api/v1/slides/{slide_id}/findings": "geometry is RFC 7946's",
    "PATCH /api/v1/findings/{finding_id}": "geometry is RFC 7946's",
    "POST /api/v1/slides/{slide_id}/findings.geojson": "features are RFC 7946's",
    "PATCH /api/v1/slides/{slide_id}": "the position must be there",
    "POST /api/v1/users": "names are kept in another form, passwords counted in it",
    "PATCH /api/v1/users/{user_id}": "passwords are counted in another form",
    "POST /api/v1/cases/{case_id}/members": "names are looked up in another form",
    "PUT /api/v1/chats/{chat_id}/messages/{message_id}/feedback": "only answers are rated",
    "POST /cases/{case_id}/slides": "the file must be a slide",
    "POST /v1/chat/completions": "a question must be about something",
}
"""Operations that may refuse what their description allows, and why no schema can say so."""


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """The running server's description, and what an admin's program sends."""
    data = tmp_path_factory.mktemp("schema")
    app = create_app(
        ServeSettings(data_dir=data, single_user=False, requests_per_minute=10_000_000)
    )
    with TestClient(app, base_url=ADDRESS) as client:
        # Hypothesis moves the recursion limit, and CPython 3.11 then fails to compile a module that
        # another thread imports; and until the model is there /ready rightly answers 503.
        app.state.services.engine.model.get()
        assert client.get("/ready").status_code == 200
        database = app.state.services.database
        with database.session() as session:
            user_id = users.create_user(session, name="chief", role="admin").id
            token = users.create_token(session, user_id, name="schemathesis").token
        headers = {"Authorization": f"Bearer {token}", "Host": "127.0.0.1:7860"}
        schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=headers)
        yield schema, headers, database, user_id


def probe(described, mode, num):
    """Send every operation so many requests of a mode; gives how many were sent."""
    schema, headers, database, user_id = described
    sent, wrong, ids = 0, [], {}
    for found in schema.get_all_operations():
        operation = found.ok()
        if not ids or operation.method.upper() == "DELETE":
            ids = draw_world(database, owner_id=user_id).ids
        try:
            sent += probe_one(operation, mode, num, headers=headers, ids=ids)
        except* Unsatisfiable:
            pass  # takes nothing that could be wrong
        except* Failure as failures:
            wrong.append(f"{operation.label}: {[str(each) for each in failures.exceptions]}")
    assert not wrong, "\n\n".join(wrong)
    return sent


def probe_one(operation, mode, num, *, headers, ids):
    """Send one operation requests of a mode, what is allowed mostly about things that are there."""
    names = ALWAYS if operation.label in MEANING else (*ALWAYS, "positive_data_acceptance")
    checks = [CHECKS.get_one(name) for name in names]
    sent = 0

    @seed(7)
    @settings(
        max_examples=num,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        nonlocal sent
        sent += 1
        if mode is GenerationMode.POSITIVE:
            given_ids = case.path_parameters or {}
            case.path_parameters = {name: ids.get(name, id) for name, id in given_ids.items()}
        login = login_of(case, headers)
        case.validate_response(case.call(headers=login), checks=checks, headers=login)

    check()
    return sent


def login_of(case, headers):
    """The program's login, unless lacking it is what is wrong with the request."""
    part = case.meta.components.get(ParameterLocation.HEADER)
    if part is not None and part.mode.is_negative:
        return {"Host": headers["Host"]}
    return headers


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_operation_fails_or_answers_what_it_does_not_declare(described, mode):
    assert probe(described, mode, 1) > 40


@pytest.mark.proof
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_nor_does_any_in_thousands_of_requests(described, mode):
    assert probe(described, mode, 200) > 5000
