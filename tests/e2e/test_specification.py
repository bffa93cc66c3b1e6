"""The facts of the REST specification that tests/it/specification walks are those of the specification itself.

Made with: python tests/e2e/test_specification.py PATH-TO-THE-YAML > tests/it/specification/operations.json
"""

import json
import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
FACTS = HERE.parent / "it" / "specification" / "operations.json"
SPECIFICATION = HERE.parent.parent.parent / "shared" / "spec" / "rest-catalog-open-api.yaml"


def facts(specification: dict) -> list[dict]:
    def resolved(node):
        while isinstance(node, dict) and "$ref" in node:
            target = specification
            for key in node["$ref"].split("/")[1:]:
                target = target[key]
            node = target
        return node

    def required(schema) -> set[str]:
        schema = resolved(schema)
        names = set(schema.get("required", []))
        for part in schema.get("allOf", []):
            names |= required(part)
        return names

    def of_operation(verb: str, path: str, operation: dict) -> dict:
        body = resolved(operation.get("requestBody") or {})
        content = next(iter((body.get("content") or {}).values()), {})
        answers, errors = {}, []
        for status, response in operation["responses"].items():
            if not str(status).startswith(("2", "3")):
                errors.append(str(status))
                continue
            json_body = (resolved(response).get("content") or {}).get("application/json")
            answers[str(status)] = sorted(required(json_body.get("schema", {}))) if json_body else []
        return {
            "operation": operation["operationId"],
            "verb": verb.upper(),
            "path": path,
            "request": sorted(required(content.get("schema", {}))),
            "answers": answers,
            "errors": sorted(errors),
        }

    verbs = ("get", "head", "post", "put", "delete")
    return [
        of_operation(verb, path, operation)
        for path, item in specification["paths"].items()
        for verb, operation in item.items()
        if verb in verbs
    ]


def text(found: list[dict]) -> str:
    return "[\n" + ",\n".join("  " + json.dumps(fact) for fact in found) + "\n]\n"


@pytest.mark.skipif(not SPECIFICATION.exists(), reason="the specification is not at hand")
def test_the_facts_are_the_specifications():
    assert FACTS.read_text() == text(facts(yaml.safe_load(SPECIFICATION.read_text())))


if __name__ == "__main__":
    print(text(facts(yaml.safe_load(Path(sys.argv[1]).read_text()))), end="")
