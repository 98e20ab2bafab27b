"""Renders the chart by Helm's own library, and holds what comes out against the schemas of Kubernetes.

Reads a question from standard input, {"check": BOOLEAN, "cases": {NAME: {"profile": NAME or null, "values": {…}}}}, and answers
on standard output, {"lint": […], "versions": […], "cases": {NAME: {"files": {PATH: TEXT}, "objects": […], "wrong": […]} or
{"refused": …}}}. What is not checked has nothing wrong.
"""

import json
import pathlib
import sys

import helm_python as helm
import kubernetes_validate
import yaml

CHART = pathlib.Path(__file__).resolve().parents[2] / "helm" / "lockstead"
# The oldest that Chart.yaml allows, one between, and the newest whose schemas there are.
VERSIONS = ["1.30", "1.33", kubernetes_validate.latest_version()]
# Kinds of operators, for which Kubernetes itself has no schema.
WITHOUT_SCHEMA = {"monitoring.coreos.com/v1", "cert-manager.io/v1"}


def merge(below, above):
    """As helm does with values of several files."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: merge(below.get(key), value) for key, value in above.items()}


def violations(thing):
    """What the schemas of each version have against an object."""
    if thing["apiVersion"] in WITHOUT_SCHEMA:
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.InvalidSchemaError) as wrong:
            yield f"{thing['kind']} in {version}: {wrong}"


def lint():
    """What helm has against the chart, with values that choose: without a choice the chart refuses to be installed."""
    found = helm.lint(CHART, {"insecure": True}, strict=True)
    return [str(message) for message in found["messages"] if message["severity"] > 1] + [str(e) for e in found["errors"]]


def render(chart, profile, values, check):
    """One case."""
    if profile:
        values = merge(yaml.safe_load((CHART / "profiles" / f"{profile}.yaml").read_text()), values)
    try:
        files = chart.render(values, name="demo", namespace="locks")
    except helm.HelmError as refused:
        return {"refused": str(refused)}
    manifests = [text for path, text in sorted(files.items()) if not path.endswith(".txt")]
    objects = [thing for text in manifests for thing in yaml.safe_load_all(text) if thing]
    wrong = [what for thing in objects for what in violations(thing)] if check else []
    return {"files": files, "objects": objects, "wrong": wrong}


def main():
    question = json.load(sys.stdin)
    check = question["check"]
    with helm.Chart.load(CHART) as chart:
        cases = {
            name: render(chart, case["profile"], case["values"], check) for name, case in question["cases"].items()
        }
    json.dump({"lint": lint() if check else [], "versions": VERSIONS, "cases": cases}, sys.stdout)


main()
