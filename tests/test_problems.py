from pathlib import Path

import httpx
import pytest
from houses import ROW, client_of, open_shop
from starlette.requests import Request

from policies.errors import PolicyInvalid
from policies.file.parse import parse
from service import errors
from service.storage.embedded import Embedded
from service.web import auth, problems
from service.web.routes import refusals

DOC = (Path(__file__).parent.parent / "docs/reference/http.md").read_text()
# What only an operator's command or a worker meets; over HTTP it would be our own fault.
NOT_OF_A_REQUEST = {errors.ServiceError, errors.BadSetting, errors.UnreadableEntry, refusals.Refusal}


def descendants(root: type[Exception]) -> set[type[Exception]]:
    return {root}.union(*(descendants(child) for child in root.__subclasses__()))


def request_of(path: str = "/v1/models") -> Request:
    return Request({"type": "http", "method": "GET", "path": path, "headers": []})


def document(error: Exception) -> tuple[int, dict]:
    response = problems.of_error(request_of(), error)
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, httpx.Response(200, content=bytes(response.body)).json()


@pytest.mark.parametrize("module", [errors, refusals, auth])
def test_every_error_that_a_request_can_meet_has_its_kind(module):
    mine = {e for e in descendants(errors.ServiceError) if e.__module__ == module.__name__} - NOT_OF_A_REQUEST
    assert mine
    assert [e.__name__ for e in mine if problems.kind_of(e.__new__(e)) is problems.UNEXPECTED] == []


def test_every_kind_has_a_name_of_its_own_and_is_in_the_docs():
    slugs = [kind.slug for kind in problems.KINDS]
    assert len(set(slugs)) == len(slugs)
    assert [slug for slug in slugs if f"`{slug}`" not in DOC] == []
    assert [kind.slug for kind in problems.KINDS if f"| `{kind.slug}` | {kind.status} |" not in DOC] == []


def test_a_document_has_the_five_fields_of_the_standard():
    status, told = document(errors.StoreAway("the store does not answer"))
    assert status == told["status"] == 503
    assert told["type"] == "/problems#store-away"
    assert {"title", "detail", "instance"} <= set(told)
    assert told["instance"] == "/v1/models"


def test_what_an_error_knows_is_in_its_document():
    rejected = [errors.Rejection(3, "features.x1", "must be a single value, not a list", "nested")]
    status, told = document(errors.NothingAcceptable(rejected))
    assert (status, told["rejected_rows"]) == (400, 1)
    assert told["rejected"] == [{"row": 3, "field": "features.x1", "problem": "must be a single value, not a list"}]
    assert document(errors.TooManyRows(5))[1]["limit"] == 5


def test_of_many_rejected_rows_a_document_tells_a_hundred_and_counts_all():
    rejected = [errors.Rejection(i, "", "is missing", "missing") for i in range(250)]
    told = document(errors.NothingAcceptable(rejected))[1]
    assert (len(told["rejected"]), told["rejected_rows"]) == (100, 250)


def test_who_should_come_back_is_told_when():
    response = problems.of_error(request_of(), errors.Backlogged(10, 10, 5))
    assert (response.status_code, response.headers["retry-after"]) == (429, "5")
    assert "retry-after" in problems.of_error(request_of(), errors.StoreFull("full")).headers


def test_a_policy_problem_says_where():
    with pytest.raises(PolicyInvalid) as caught:
        parse("model: shop\ntask: {kind: clasification}", "shop.yaml")
    status, told = document(caught.value)
    assert status == 422
    assert (told["problems"][0]["line"], told["problems"][0]["path"]) == (2, "task.kind")


def test_a_path_with_any_signs_becomes_a_reference():
    response = problems.of_error(request_of('/v1/models/a b"\n<'), refusals.Unknown("nothing"))
    assert httpx.Response(200, content=bytes(response.body)).json()["instance"] == "/v1/models/a%20b%22%0A%3C"


def test_what_nobody_foresaw_shows_an_id_and_no_insides(server: Embedded, tmp_path, caplog):
    def broken_clock():
        insides = "the insides of 1234"
        raise ZeroDivisionError(insides)

    with open_shop(server, tmp_path) as house:
        object.__setattr__(house, "clock", broken_clock)
        with client_of(house) as client:
            answer = client.post("/v1/models/shop/predictions", json=[ROW])
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "1234" not in answer.text
    assert "ZeroDivisionError" not in answer.text
    logged = [record for record in caplog.records if answer.json()["id"] in record.getMessage()]
    assert len(logged) == 1
    assert logged[0].exc_info[0] is ZeroDivisionError


def test_unknown_addresses_methods_and_parameters_are_problems_too(server: Embedded, tmp_path):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        nowhere, wrong = client.get("/v1/nope"), client.put("/v1/models")
        bad = client.get("/v1/models/shop/decisions?limit=many")
    for answer, status, slug in (
        (nowhere, 404, "no-such-route"),
        (wrong, 405, "wrong-method"),
        (bad, 422, "bad-parameter"),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["type"] == f"/problems#{slug}"
    assert wrong.headers["allow"] == "GET"
    assert bad.json()["errors"][0]["where"] == "query.limit"


def test_the_page_that_types_point_to_has_every_kind(server: Embedded, tmp_path):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        page = client.get("/problems").text
    assert [kind.slug for kind in problems.KINDS if f'id="{kind.slug}"' not in page] == []
