"""What the document's schemas can't say, so that no case is judged by it."""

import re

import schemathesis

DURATION = re.compile(r"\d+(\.\d{1,3})?(ms|s|m|h|d)|forever")
# Good requests don't wait for one another: waits and leases last for a moment, whatever a case says.
MOMENT = {"wait": "5ms", "ttl": "100ms"}
# Lengths are in bytes, those of schemas in characters.
MAX_BYTES = {"name": 255, "page_token": 255, "owner": 255, "request_id": 128}


@schemathesis.hook
def before_call(context, case, kwargs):
    for part in (case.query, case.body):
        if isinstance(part, dict):
            for field, moment in MOMENT.items():
                if isinstance(part.get(field), str) and DURATION.fullmatch(part[field]):
                    part[field] = moment


@schemathesis.hook
def filter_case(context, case):
    path, query, body = (part if isinstance(part, dict) else {} for part in (case.path_parameters, case.query, case.body))
    texts = [*path.items(), *query.items(), *body.items()]
    return not (
        any(is_text_beyond(value, MAX_BYTES.get(field)) for field, value in texts)
        or any(level in (".", "..") for level in str(path.get("name", "")).split("/"))
        or any(level in (".", "..") for level in str(query.get("page_token", "")).split("/"))
        or is_metadata_beyond(body.get("metadata"))
        # An empty parameter is none.
        or "" in query.values()
        # Nothing is in the query and in the body.
        or any(query[field] is not None and body.get(field) is not None for field in query)
        or is_more(query.get("permits") or body.get("permits"), query.get("limit") or body.get("limit"))
        # In the node scope each permit is a file.
        or ("node" in (query.get("scope"), body.get("scope")) and is_more(query.get("limit") or body.get("limit"), 1000))
        # It may be in either, and must be in one.
        or (case.path.endswith("/hold") and "semaphores" in case.path and not (query.get("limit") or body.get("limit")))
    )


def is_text_beyond(value, most):
    return isinstance(value, str) and most is not None and len(value.encode("utf-8", "replace")) > most


def is_metadata_beyond(entries):
    if not isinstance(entries, dict):
        return False
    return any(is_text_beyond(key, 64) or is_text_beyond(value, 512) for key, value in entries.items())


def is_more(permits, limit):
    try:
        return float(permits) > float(limit)
    except (TypeError, ValueError):
        return False
