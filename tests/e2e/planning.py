"""The server's routes of scan planning, and how often it was asked to plan."""

import json

import requests


def plans_answered(lake):
    """How many scans the server has planned so far."""
    text = requests.get(f"{lake.url}/metrics", timeout=10).text
    lines = [line for line in text.splitlines() if line.startswith("floeberg_http_requests_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if '/plan"' in line and 'status="200"' in line)


class Planner:
    """The routes of one table."""

    def __init__(self, url, namespace, table="t"):
        self.url = f"{url}/v1/namespaces/{namespace}/tables/{table}"
        self.http = requests.Session()

    def ask(self, route="plan", **body):
        return self.http.post(f"{self.url}/{route}", json={name.replace("_", "-"): value for name, value in body.items()}, timeout=60)

    def plan(self, **body):
        answer = self.ask(**body)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:2000]} for {json.dumps(body)[:2000]}"
        plan = answer.json()
        assert plan["status"] == "completed" and plan["plan-id"]
        return plan

    def tasks(self, **body):
        """The tasks of a plan and of all tasks it hands out, with their deletes."""
        pending, found = [self.plan(**body)], []
        while pending:
            part = pending.pop()
            deletes = part.get("delete-files", [])
            found += [{**task, "deletes": [deletes[at] for at in task.get("delete-file-references", [])]} for task in part["file-scan-tasks"]]
            for task in part.get("plan-tasks", []):
                answer = self.ask("tasks", plan_task=task)
                assert answer.status_code == 200, answer.text
                pending.append(answer.json())
        assert len({path(task) for task in found}) == len(found), "a file is planned once"
        return found

    def paths(self, **body):
        return {path(task) for task in self.tasks(**body)}


def path(task):
    return task["data-file"]["file-path"]
