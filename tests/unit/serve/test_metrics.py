from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from ruichat.serve.app import create_app
from ruichat.serve.settings import ServeSettings

PUBLIC_URL = "https://rui.example"


@pytest.fixture
def settings(tmp_path):
    return ServeSettings(
        data_dir=tmp_path, single_user=False, public_url=PUBLIC_URL, metrics_token="a secret"
    )


def asked(client, token=""):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return client.get("/metrics", headers=headers)


def test_figures_are_for_admins_and_for_prometheus(client, services, join):
    assert asked(client).status_code == 401
    assert asked(client, "wrong").status_code == 401
    assert asked(client, "a secret").status_code == 200
    assert join("pathologist").get("/metrics").status_code == 403
    assert join("admin").get("/metrics").status_code == 200


def test_without_a_token_of_the_operator_none_is_right(tmp_path):
    app = create_app(ServeSettings(data_dir=tmp_path, public_url=PUBLIC_URL))
    with TestClient(app) as client:
        assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401


def test_a_server_for_this_machine_alone_shows_them_to_it(tmp_path):
    app = create_app(ServeSettings(data_dir=tmp_path, single_user=False))
    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/metrics").status_code == 200


def test_requests_are_counted_by_route_and_nothing_else_is_told(client, services, join):
    li = join("pathologist", "Zhang San")
    case = li.post("/api/v1/cases", json={"title": "S-4711"}).json()["id"]
    li.get(f"/api/v1/cases/{case}")
    li.get("/no/such/path/Zhang")
    li.request("BREW", "/coffee")
    page = asked(client, "a secret").text
    counted = {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "ruichat_requests_total"
    }
    assert counted["POST", "/api/v1/cases", "201"] == 1
    assert counted["GET", "/api/v1/cases/{case_id}", "200"] == 1
    assert counted["GET", "other", "404"] == 1
    assert counted["other", "other", "404"] == 1
    assert "ruichat_engine_waiting 0" in page and "process_resident_memory_bytes" in page
    for told in (case, "Zhang", "4711", "BREW"):
        assert told not in page
