"""What the property-based tester may not do to the cluster: wait for longer than the test lasts, and name the nodes that are there.

It learns names from answers, and would demote and remove the very nodes that it asks. The journey in interface.py changes members.
"""

import re

import schemathesis

SPAN = re.compile(r"[0-9]+\s*(h|m|s|ms|us|µs)\s*")
THERE = re.compile(r"interface-(master|spare)-.*")


def bounded(name, text, path):
    """A duration that makes sense, made short; what makes none is asked for as it is."""
    if not (isinstance(text, str) and SPAN.fullmatch(text)):
        return text
    waits = name == "wait" or path == "/v1/wait" or path == "/v1/init" or path.startswith("/v1/members/")
    return "50ms" if waits else "3s"


def strange(value):
    """The same, about nodes that do not exist."""
    if isinstance(value, dict):
        return {name: strange(item) for name, item in value.items()}
    if isinstance(value, list):
        return [strange(item) for item in value]
    return "somebody-else" if isinstance(value, str) and THERE.fullmatch(value) else value


@schemathesis.hook
def before_call(context, case, kwargs):
    for asked in (case.query, case.body):
        if isinstance(asked, dict):
            for name in ("timeout", "wait"):
                if name in asked:
                    asked[name] = bounded(name, asked[name], case.path)
    if case.path.startswith("/v1/members/") and isinstance(case.body, dict | list):
        case.body = strange(case.body)
