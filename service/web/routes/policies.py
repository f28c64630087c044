"""Policies: those in force, and a check of a text before it is one."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from policies.errors import PolicyInvalid
from policies.file.inherit import Defaults
from policies.file.parse import digest, dump, parse
from service.policy_files import PolicyState
from service.web.problems import told_policy
from service.web.routes.bodies import check_type
from service.web.routes.desk import AtDesk, Reader, answer, in_thread
from service.web.routes.refusals import Unknown

routes = APIRouter(tags=["policies"])
YAML_TYPES = ("application/yaml", "text/yaml", "application/x-yaml", "text/x-yaml", "text/plain")
_MOST_BYTES = 1024 * 1024
_CHECKED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {name: {"schema": {"type": "string"}} for name in YAML_TYPES[:2]},
    }
}


@routes.get("/v1/policies", summary="The policies in force")
def list_policies(desk: AtDesk, caller: Reader) -> Response:
    """With what is wrong with the newest text of their files; `problems` are files that hold no policy in force.

    `inherits` names the file of the defaults that all of them inherit, None where there is none.
    """
    folder = desk.house.policies
    states = [state for model, state in sorted(folder.states().items()) if caller.may_see(model)]
    shadows = [shadow for state in states for shadow in folder.shadows(state.policy.model).values()]
    problems = {} if caller.models else folder.problems()
    listed = [{"file": file, "problem": problem} for file, problem in problems.items()]
    defaults = folder.defaults()
    told = {
        "policies": [_shown(state) for state in states],
        "shadows": [_shown(state) for state in shadows],
        "inherits": Path(defaults.source).name if defaults else None,
        "problems": listed,
    }
    return answer(told)


@routes.get("/v1/policies/{model}", summary="The policy of a model")
def show_policy(model: str, desk: AtDesk, caller: Reader) -> Response:
    """Its text, and all it says with the defaults spelled out."""
    desk.check_model(model, caller)
    state = desk.house.policies.states().get(model)
    if state is None:
        raise Unknown(f"model {model} has no policy: put one into {desk.house.policies.folder}")
    return answer({**_shown(state), "text": state.text, "policy": dump(state.policy)})


@routes.post("/v1/policies/check", summary="Check a policy text", openapi_extra=_CHECKED)
async def check_policy(request: Request, desk: AtDesk, caller: Reader) -> Response:
    """Whether the body is a policy in this folder; if not, every problem with its line and column.

    It inherits the defaults that are in force here, and a problem in those names their file. Nothing is changed.
    """
    del caller
    check_type(request, YAML_TYPES)
    async with desk.bodies.take(request, _MOST_BYTES) as body:
        return answer(await in_thread(lambda: _check(body, desk.house.policies.defaults())))


def _check(body: bytes, defaults: Defaults | None) -> dict[str, Any]:
    try:
        policy = parse(body.decode(), "policy", defaults)
    except UnicodeDecodeError as error:
        line = body[: error.start].count(b"\n") + 1
        column = error.start - body.rfind(b"\n", 0, error.start)
        told = {
            "file": "policy",
            "line": line,
            "column": column,
            "path": "",
            "seen": "",
            "problem": "the text is not UTF-8",
        }
        return {"valid": False, "problems": [told]}
    except PolicyInvalid as error:
        return {"valid": False, "problems": told_policy(error)}
    return {"valid": True, "problems": [], "model": policy.model, "digest": digest(policy)}


def _shown(state: PolicyState) -> dict[str, Any]:
    return {
        "model": state.policy.model,
        "owner": state.policy.owner,
        "file": state.file.name,
        "digest": digest(state.policy),
        "current": state.is_current,
        "problem": state.problem or None,
    }
