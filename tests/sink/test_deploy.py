"""What deploy/ says is what Kubernetes, systemd and the command line understand."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from auditlens.errors import UsageError

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


_TEXT, _NUMBER, _YES = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_LABELS = {"type": "object", "additionalProperties": _TEXT}
_META = _object(["name"], name=_TEXT, namespace=_TEXT, labels=_LABELS, annotations=_LABELS)
_SELECTOR = _object([], matchLabels=_LABELS)
_PORT = {"type": ["string", "integer"]}
_QUANTITIES = {"type": "object", "additionalProperties": {"type": "string", "pattern": r"^\d+(m|Mi|Gi)?$"}}
_PROBE = _object(
    ["httpGet"],
    httpGet=_object(["path", "port"], path=_TEXT, port=_PORT),
    periodSeconds=_NUMBER,
    timeoutSeconds=_NUMBER,
    failureThreshold=_NUMBER,
)
_CONTAINER = _object(
    ["name", "image", "securityContext", "resources", "livenessProbe", "readinessProbe"],
    name=_TEXT, image=_TEXT, args=_list(_TEXT), startupProbe=_PROBE, livenessProbe=_PROBE, readinessProbe=_PROBE,
    env=_list(_object(["name"], name=_TEXT, value=_TEXT, valueFrom=_object([], fieldRef=_object(["fieldPath"], fieldPath=_TEXT)))),
    ports=_list(_object(["containerPort"], name={"type": "string", "maxLength": 15}, containerPort=_NUMBER)),
    resources=_object(["requests", "limits"], requests=_QUANTITIES, limits=_QUANTITIES),
    securityContext=_object(
        [], allowPrivilegeEscalation={"const": False}, readOnlyRootFilesystem={"const": True}, capabilities=_object(["drop"], drop={"const": ["ALL"]})
    ),
    volumeMounts=_list(_object(["name", "mountPath"], name=_TEXT, mountPath=_TEXT, readOnly=_YES)),
)  # fmt: skip
_POD = _object(
    ["containers", "securityContext"],
    serviceAccountName=_TEXT, automountServiceAccountToken={"const": False}, enableServiceLinks=_YES, terminationGracePeriodSeconds=_NUMBER,
    securityContext=_object(
        ["runAsNonRoot", "seccompProfile"], runAsNonRoot={"const": True}, runAsUser=_NUMBER, runAsGroup=_NUMBER, fsGroup=_NUMBER,
        fsGroupChangePolicy={"enum": ["OnRootMismatch", "Always"]}, seccompProfile=_object(["type"], type=_TEXT),
    ),
    containers=_list(_CONTAINER),
    volumes=_list(_object(["name"], name=_TEXT, secret=_object(["secretName"], secretName=_TEXT, defaultMode=_NUMBER), emptyDir=_object([], sizeLimit=_TEXT))),
)  # fmt: skip
_PEER = _object([], ipBlock=_object(["cidr"], cidr=_TEXT), namespaceSelector=_SELECTOR, podSelector=_SELECTOR)
_RULE = _object([], **{"from": _list(_PEER)}, to=_list(_PEER), ports=_list(_object([], protocol=_TEXT, port=_PORT)))
# The fields of k8s.io/api (core/v1, apps/v1, networking/v1, policy/v1) that are used here; any other is a spelling mistake.
SPECS = {
    "Namespace": None,
    "ServiceAccount": None,
    "StatefulSet": _object(
        ["serviceName", "selector", "template"],
        serviceName=_TEXT, replicas=_NUMBER, selector=_SELECTOR,
        template=_object(["metadata", "spec"], metadata=_object([], labels=_LABELS, annotations=_LABELS), spec=_POD),
        volumeClaimTemplates=_list(_object(
            ["metadata", "spec"], metadata=_META,
            spec=_object(["accessModes", "resources"], accessModes=_list(_TEXT), resources=_object(["requests"], requests=_QUANTITIES)),
        )),
    ),
    "Service": _object(
        ["selector", "ports"], type=_TEXT, clusterIP=_TEXT, externalTrafficPolicy=_TEXT, selector=_LABELS,
        ports=_list(_object(["port"], name=_TEXT, port=_NUMBER, targetPort=_PORT, nodePort={"type": "integer", "minimum": 30000, "maximum": 32767})),
    ),
    "NetworkPolicy": _object(["podSelector", "policyTypes"], podSelector=_SELECTOR, policyTypes=_list(_TEXT), ingress=_list(_RULE), egress=_list(_RULE)),
    "PodDisruptionBudget": _object(["selector"], maxUnavailable=_NUMBER, selector=_SELECTOR),
}  # fmt: skip


def manifests() -> list[dict[str, Any]]:
    return [d for d in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()) if d]


@pytest.mark.parametrize("manifest", manifests(), ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_a_manifest_has_only_fields_that_exist(manifest: dict[str, Any]) -> None:
    spec = SPECS[manifest["kind"]]
    schema = _object(
        ["apiVersion", "kind", "metadata"], apiVersion=_TEXT, kind=_TEXT, metadata=_META, automountServiceAccountToken=_YES
    )
    if spec:
        schema["properties"]["spec"] = spec
    jsonschema.validate(manifest, schema)


def test_the_manifests_fit_together() -> None:
    found = {(m["kind"], m["metadata"]["name"]): m for m in manifests()}
    workload = found["StatefulSet", "auditlens-sink"]["spec"]
    pod = workload["template"]["spec"]
    labels = workload["template"]["metadata"]["labels"]
    ports = {p["name"] for c in pod["containers"] for p in c["ports"]}
    assert ("Service", workload["serviceName"]) in found
    assert ("ServiceAccount", pod["serviceAccountName"]) in found
    for (kind, _), manifest in found.items():
        assert manifest["metadata"].get("namespace", "auditlens") == "auditlens"
        spec = manifest.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        chosen = selector.get("matchLabels", selector)
        assert chosen.items() <= labels.items(), kind
        if kind == "Service":
            assert {p["targetPort"] for p in spec["ports"]} <= ports
    volumes = {v["name"] for v in pod["volumes"]} | {c["metadata"]["name"] for c in workload["volumeClaimTemplates"]}
    for container in pod["containers"]:
        assert {m["name"] for m in container["volumeMounts"]} == volumes
        assert {container[p]["httpGet"]["port"] for p in ("startupProbe", "livenessProbe", "readinessProbe")} <= ports
        writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
        for argument in container["args"]:
            option, _, value = argument.partition("=")
            if option in ("--lake", "--wal"):
                assert any(value.startswith(f"{w}/") for w in writable)


def _options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


def test_every_option_that_is_used_exists() -> None:
    from typer.testing import CliRunner

    cli = pytest.importorskip("auditlens.cli.app")
    shown = CliRunner().invoke(cli.app, ["serve", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}).output
    known = _options(re.sub(r"\x1b\[[0-9;]*m", "", shown))
    args = [a for m in manifests() if m["kind"] == "StatefulSet" for a in m["spec"]["template"]["spec"]["containers"][0]["args"]]
    unit = (DEPLOY / "auditlens-sink.service").read_text().split("ExecStart=")[1].split("Restart=")[0]
    assert _options(" ".join(args)) | _options(unit) <= known


def test_the_guard_against_an_open_door_is_on() -> None:
    """`--insecure` would go on being there when a flag of TLS is lost; with them, nothing needs it."""
    from auditlens.sink.server import _check_exposure

    (args,) = [m["spec"]["template"]["spec"]["containers"][0]["args"] for m in manifests() if m["kind"] == "StatefulSet"]
    given = dict(a.lstrip("-").partition("=")[::2] for a in args)
    assert "insecure" not in given
    _check_exposure(given["listen"], bool(given["tls-cert"] and given["client-ca"]), False)
    with pytest.raises(UsageError, match="is not loopback"):
        _check_exposure(given["listen"], False, False)


def test_the_image_runs_as_nobody_and_writes_only_to_its_volume() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    last = [
        line.split(maxsplit=1)
        for line in lines[max(i for i, x in enumerate(lines) if x.startswith("FROM")) :]
        if line[:1].isupper()
    ]
    said = dict(last)
    assert said["USER"] == "65532:65532"
    assert said["VOLUME"] == "/var/lib/auditlens"
    assert said["ENTRYPOINT"] == '["auditlens"]'
    users = [m["spec"]["template"]["spec"]["securityContext"]["runAsUser"] for m in manifests() if m["kind"] == "StatefulSet"]
    assert users == [65532]


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = (DEPLOY / "auditlens-sink.service").read_text()
    sections = re.findall(r"^\[(\w+)\]$", unit, re.MULTILINE)
    assert sections == ["Unit", "Service", "Install"]
    loaded = set(re.findall(r"^LoadCredential=([\w.-]+):", unit, re.MULTILINE))
    assert set(re.findall(r"%d/([\w.-]+)", unit)) == loaded
    analyze = shutil.which("systemd-analyze")
    if analyze:
        path = tmp_path / "auditlens-sink.service"
        path.write_text(
            re.sub(r"/opt/auditlens/bin/auditlens", shutil.which("true") or "/bin/true", unit).replace(
                "User=auditlens", "User=root"
            )
        )
        checked = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True, check=False)
        assert "Unknown" not in checked.stderr
