"""Keeps the fuzzing on this machine, and the keys that it is run with alive."""

import json
import os
import re
import urllib.request

import schemathesis

NOBODY = "00000000-0000-4000-8000-000000000000"
# Nobody listens on the discard port: what is sent there fails at once.
TARGET = "http://127.0.0.1:9/fuzzed"


def ids(path, key):
    """What is there before the run."""
    request = urllib.request.Request(
        f"{os.environ['BASE_URL']}{path}?limit=100", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        return {item["id"] for item in json.load(answer)["data"]}


KEPT = ids("/v1/platform/organizations", os.environ["PLATFORM_KEY"]) | ids(
    "/v1/auth/api-keys", os.environ["SESSION"]
)


@schemathesis.hook
def before_call(context, case, kwargs):
    # Ids are learned from answers: no organization or key that was there before is changed or deleted.
    if case.method in ("DELETE", "PATCH", "PUT"):
        for name, value in (case.path_parameters or {}).items():
            if value in KEPT:
                case.path_parameters[name] = NOBODY
    # Nothing is delivered to a host that chance has named.
    if isinstance(case.body, dict) and isinstance(case.body.get("url"), str):
        positive = case.meta is None or case.meta.generation.mode.is_positive
        if positive or re.match(r"[\x00-\x20]*https?:", case.body["url"], re.IGNORECASE):
            case.body["url"] = TARGET
