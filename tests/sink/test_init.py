"""`sink init` makes what a kube-apiserver accepts, for its owner only, and overwrites nothing."""

from __future__ import annotations

import re
import stat
import textwrap
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from auditlens.errors import UsageError
from auditlens.sink.access import Access, Credential, CredentialFile
from auditlens.sink.init import sink_init

_PATH = {"type": "string", "pattern": "^/"}


def _named(what: dict[str, object], key: str) -> dict[str, object]:
    item = {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", key],
        "properties": {"name": {"type": "string"}, key: what},
    }
    return {"type": "array", "items": item, "minItems": 1}


# client-go, tools/clientcmd/api/v1/types.go: the fields of Config as it writes them, unknown ones refused.
KUBECONFIG = {
    "type": "object", "additionalProperties": False, "required": ["apiVersion", "kind", "clusters", "users", "contexts", "current-context"],
    "properties": {
        "apiVersion": {"const": "v1"}, "kind": {"const": "Config"}, "preferences": {"type": "object"}, "current-context": {"type": "string"},
        "clusters": _named({
            "type": "object", "additionalProperties": False, "required": ["server"],
            "properties": {"server": {"type": "string", "pattern": "^https?://"}, "certificate-authority": _PATH, "tls-server-name": {"type": "string"}},
        }, "cluster"),
        "users": _named({
            "type": "object", "additionalProperties": False,
            "properties": {"client-certificate": _PATH, "client-key": _PATH, "token": {"type": "string", "minLength": 32}},
            "dependentRequired": {"client-certificate": ["client-key"]},
        }, "user"),
        "contexts": _named({
            "type": "object", "additionalProperties": False, "required": ["cluster", "user"],
            "properties": {"cluster": {"type": "string"}, "user": {"type": "string"}},
        }, "context"),
    },
}  # fmt: skip


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize(
    "url", ["https://sink.example:9443/audit/lab", "http://127.0.0.1:9443/audit", "https://10.0.0.1/audit/prod-eu"]
)
def test_the_kubeconfig_is_one_by_a_strict_reading(tmp_path: Path, url: str, token: bool) -> None:
    made = sink_init(url, tmp_path / "out", token=token)
    config = yaml.safe_load(made.kubeconfig.read_text())
    jsonschema.validate(config, KUBECONFIG)
    context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
    assert context["cluster"] in [c["name"] for c in config["clusters"]]
    assert context["user"] in [u["name"] for u in config["users"]]
    assert config["clusters"][0]["cluster"]["server"] == url
    assert {stat.S_IMODE(p.stat().st_mode) for p in made.directory.iterdir()} == {0o600}
    assert stat.S_IMODE(made.directory.stat().st_mode) == 0o700
    for flag in ("--audit-webhook-config-file", "--audit-webhook-batch-max-wait", "hostPath", "mountPath"):
        assert flag in made.advice


PAGE = Path(__file__).resolve().parents[2] / "docs" / "audit-logging.md"


def _as_kubeadm_makes_it() -> dict[str, Any]:
    """kube-apiserver's container and volumes by the kubeadm section of docs/audit-logging.md (v1beta4: cmd/kubeadm/app/phases/controlplane)."""
    blocks = re.findall(r"```yaml\n(apiVersion: kubeadm.*?)```", PAGE.read_text(), re.DOTALL)
    server = yaml.safe_load(blocks[0])["apiServer"]
    return {
        "flags": [f"--{a['name']}={a['value']}" for a in server["extraArgs"]],
        "mounts": [{"name": v["name"], "mountPath": v["mountPath"]} for v in server["extraVolumes"]],
        "volumes": [{"name": v["name"], "hostPath": {"path": v["hostPath"]}} for v in server["extraVolumes"]],
    }


@pytest.mark.parametrize("url", ["https://sink.example:9443/audit/lab", "http://127.0.0.1:9443/audit"])
@pytest.mark.parametrize("before", [True, False], ids=["after the kubeadm section of docs/audit-logging.md", "alone"])
def test_what_it_says_to_add_fits_into_the_static_pod(tmp_path: Path, url: str, before: bool) -> None:
    """The kubelet refuses a pod with a volume's name or a mount's path twice, or a mount without a volume: no apiserver then."""
    made = sink_init(url, tmp_path / "out")
    pod = _as_kubeadm_makes_it() if before else {"flags": [], "mounts": [], "volumes": []}
    said = made.advice.split("3. Add")[1].split("4. Check")[0]
    there = {flag.partition("=")[0] for flag in pod["flags"]}
    for flag, note in re.findall(r"^  - (--\S+)(.*)$", said, re.MULTILINE):
        assert flag.partition("=")[0] not in there or "unless there is one already" in note
        pod["flags"] += [] if flag.partition("=")[0] in there else [flag]
    mounts, volumes = re.search(r"^    (volumeMounts:.*?)^  (volumes:.*)", said, re.MULTILINE | re.DOTALL).groups()  # type: ignore[union-attr]
    pod["mounts"] += yaml.safe_load(textwrap.dedent("    " + mounts))["volumeMounts"]
    pod["volumes"] += yaml.safe_load(textwrap.dedent("  " + volumes))["volumes"]
    for key, items in (("name", pod["volumes"]), ("mountPath", pod["mounts"])):
        values = [item[key] for item in items]
        assert len(values) == len(set(values)), values
    assert {m["name"] for m in pod["mounts"]} <= {v["name"] for v in pod["volumes"]}
    names = [flag.partition("=")[0] for flag in pod["flags"]]
    assert len(names) == len(set(names))
    copied = re.search(r"2\. Copy (.*) from .* to (\S+) on", made.advice)
    assert copied
    for path in [f.partition("=")[2] for f in pod["flags"] if f.partition("=")[0].endswith(("-policy-file", "-config-file"))]:
        home, name = path.rsplit("/", 1)
        assert any(home == m["mountPath"] for m in pod["mounts"])
        assert not home.startswith(copied[2]) or (name in copied[1].split(", ") and (made.directory / name).is_file())


def test_the_policy_it_makes_is_one(tmp_path: Path) -> None:
    made = sink_init("https://sink.example:9443/audit/lab", tmp_path)
    assert yaml.safe_load(made.policy.read_text())["kind"] == "Policy"


def test_the_certificates_say_what_they_are_for(tmp_path: Path) -> None:
    made = sink_init("https://sink.example:9443/audit/lab", tmp_path, names=("10.0.0.1", "fd00::1"))
    server = x509.load_pem_x509_certificate((tmp_path / "server.crt").read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["sink.example"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "fd00::1"]
    client = x509.load_pem_x509_certificate((tmp_path / "client.crt").read_bytes())
    assert list(client.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert made.client_names
    assert made.client_names.read_text().split() == ["kube-apiserver-lab", "lab"]


@pytest.mark.parametrize(
    "url",
    [
        "sink:9443",
        "ftp://sink/audit",
        "https://sink/audit?cluster=lab",
        "https://sink/other",
        "https://sink/audit/LAB",
        "https://sink/audit/a/b",
    ],
)
def test_an_address_that_cannot_work_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="--url"):
        sink_init(url, tmp_path)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    sink_init("https://sink/audit/lab", tmp_path)
    before = (tmp_path / "ca.key").read_bytes()
    with pytest.raises(UsageError, match="exists"):
        sink_init("https://sink/audit/lab", tmp_path)
    assert (tmp_path / "ca.key").read_bytes() == before


def test_a_credential_fits_its_globs_only() -> None:
    credential = Credential(b"", ("lab", "prod-*", "d?v"))
    fits = {c: credential.may_write(c) for c in ("lab", "lab2", "prod-eu", "prod", "dev", "deev")}
    assert fits == {"lab": True, "lab2": False, "prod-eu": True, "prod": False, "dev": True, "deev": False}


@pytest.mark.parametrize("line", ["short x", "a-token-0123456789 [ab]", "a-token-0123456789 UPPER", "a-token-0123456789 a/b"])
def test_a_line_that_means_nothing_is_refused_with_its_place(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(UsageError, match=r"tokens:2: "):
        CredentialFile(path, tokens=True)


def test_names_and_tokens_are_both_required_where_both_are_configured(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("apiserver lab\n")
    (tmp_path / "tokens").write_text("token-0123456789abc prod,lab\n")
    access = Access(token_file=tmp_path / "tokens", client_names=tmp_path / "names", default="default")
    bearer = "Bearer token-0123456789abc"
    assert access.judge(bearer, ("apiserver",), None).cluster == "lab"
    assert access.judge(bearer, ("other", "apiserver"), "lab").status == 200
    assert access.judge(bearer, ("apiserver",), "prod").status == 403
    assert access.judge(bearer, ("other",), "lab").status == 403
    assert access.judge(bearer, None, "lab").status == 401
    assert access.judge("", ("apiserver",), "lab").status == 401
