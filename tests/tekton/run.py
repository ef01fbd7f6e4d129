#!/usr/bin/env python3
"""run.py VALIDATE ENTRYPOINT FILE.yaml [NAME=VALUE...]: runs the step of a Task or StepAction as a pod of Tekton would.

The document is read and defaulted by Tekton's own types, its variables are replaced, and the step runs in a container of the image
BUILDER_IMAGE, in docker's default profile, with the layout of /tekton and under Tekton's own entrypoint. What comes out are the results, as
JSON, read from the termination message, which may hold 4096 bytes. `source=DIR` and `dockerconfig=DIR` bind workspaces; a parameter of type
array is a JSON list.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

TERMINATION_MAX = 4096


def replaced(value, variables):
    """The value with its variables replaced; `$(x[*])` alone in a list becomes the list's items."""
    if isinstance(value, dict):
        return {key: replaced(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        items = []
        for item in value:
            star = re.fullmatch(r"\$\(([^)]*)\[\*\]\)", item) if isinstance(item, str) else None
            items.extend(variables[star.group(1)] if star else [replaced(item, variables)])
        return items
    if isinstance(value, str):
        return re.sub(r"\$\(((?:params|workspaces|results|step\.results)\.[^)]*)\)", lambda found: variables[found.group(1)], value)
    return value


def main():
    validate, entrypoint, path, *given = sys.argv[1:]
    document = json.loads(subprocess.check_output([validate, "--json", path]))
    given = dict(item.split("=", 1) for item in given)
    spec = document["spec"]
    is_task = document["kind"] == "Task"
    step = spec["steps"][0] if is_task else spec
    variables, mounts = {}, []
    for param in spec.get("params", []):
        value = given.pop(param["name"], param.get("default"))
        if param.get("type") == "array" and isinstance(value, str):
            value = json.loads(value)
        if value is None:
            sys.exit(f"{param['name']} has no value")
        variables[f"params.{param['name']}"] = value
    with tempfile.TemporaryDirectory() as place:
        for workspace in spec.get("workspaces", []):
            bound = given.pop(workspace["name"], None)
            inside = workspace.get("mountPath", f"/workspace/{workspace['name']}")
            variables[f"workspaces.{workspace['name']}.path"] = inside if bound else ""
            if bound:
                mounts += ["--volume", f"{os.path.abspath(bound)}:{inside}" + (":ro" if workspace.get("readOnly") else "")]
        if "source" in given:
            mounts += ["--volume", f"{os.path.abspath(given.pop('source'))}:/workspace/source"]
        if given:
            sys.exit(f"not a parameter or workspace: {', '.join(given)}")
        # A step's results are below its own directory when a StepAction declares them, else in the Task's.
        results = "/tekton/results" if is_task else "/tekton/steps/step-build/results"
        names = [result["name"] for result in spec["results"]]
        for name in names:
            variables[f"{'results' if is_task else 'step.results'}.{name}.path"] = f"{results}/{name}"
        step = replaced(step, variables)
        for name in ("bin", "run/0/status/results", "results", "steps", "home", "creds", "scripts", "downward"):
            os.makedirs(f"{place}/{name}")
        # As the init container of a pod lays it out.
        os.symlink("/tekton/run/0/status", f"{place}/steps/step-build")
        subprocess.run(["install", "-m", "755", entrypoint, f"{place}/bin/entrypoint"], check=True)
        termination = f"{place}/termination"
        open(termination, "w").close()
        for name in ("bin", "run", "results", "steps", "home", "creds", "downward"):
            mounts += ["--volume", f"{place}/{name}:/tekton/{name}"]
        mounts += ["--volume", f"{termination}:/tekton/termination"]
        for volume in step.get("volumeMounts", []):
            mounts += ["--volume", volume["mountPath"]]
        environment = [f"--env={item['name']}={item['value']}" for item in step.get("env", [])]
        flag = "-results" if is_task else "-step_results"
        command = [
            "docker", "run", "--rm", "--network=host", *mounts, *environment, "--env=HOME=/tekton/home",
            *(["--workdir", step["workingDir"]] if step.get("workingDir") else []),
            "--user", str(step.get("securityContext", {}).get("runAsUser", 0)),
            "--entrypoint", "/tekton/bin/entrypoint", step["image"],
            "-post_file", "/tekton/run/0/out", "-termination_path", "/tekton/termination", "-step_metadata_dir", "/tekton/run/0/status",
            flag, ",".join(names), "-entrypoint", step["command"][0], "--", *step["command"][1:], *step["args"],
        ]
        code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
        with open(termination, encoding="utf-8") as file:
            message = file.read()
        if len(message) > TERMINATION_MAX:
            sys.exit(f"the termination message has {len(message)} bytes")
        if code != 0:
            sys.exit(code)
        print(json.dumps({entry["key"]: entry["value"] for entry in json.loads(message) if entry["key"] in names}))


main()
