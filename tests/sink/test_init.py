"""`sink init` makes what a kube-apiserver accepts, for its owner only, and overwrites nothing."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import ssl
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonpatch
import jsonschema
import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from auditlens import ask
from auditlens.errors import UsageError
from auditlens.sink.access import Access, Credential, CredentialFile
from auditlens.sink.init import APISERVER_DIR, Made, sink_init

from .helpers import Sink, batch, event, post, tls_options

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
    assert {stat.S_IMODE(p.stat().st_mode) for p in made.directory.rglob("*") if p.is_file()} == {0o600}
    assert stat.S_IMODE(made.directory.stat().st_mode) == 0o700
    assert {p.name for p in made.directory.rglob("*") if p.is_dir()} == {"patches"}


HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "audit-logging.md"
_TYPES = {"", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"}


def static_pod(*, logging: bool = False) -> dict[str, Any]:
    """kube-apiserver's manifest as kubeadm writes it, with or without what docs/audit-logging.md says to configure."""
    pod: dict[str, Any] = yaml.safe_load((HERE / "data" / "kube-apiserver.yaml").read_text())
    if logging:  # v1beta4: cmd/kubeadm/app/phases/controlplane
        block = re.findall(r"```yaml\n(apiVersion: kubeadm.*?)```", PAGE.read_text(), re.DOTALL)[0]
        server, container = yaml.safe_load(block)["apiServer"], pod["spec"]["containers"][0]
        container["command"] += [f"--{a['name']}={a['value']}" for a in server["extraArgs"]]
        for v in server["extraVolumes"]:
            container["volumeMounts"].append(
                {"name": v["name"], "mountPath": v["mountPath"], "readOnly": v.get("readOnly", False)}
            )
            pod["spec"]["volumes"].append({"name": v["name"], "hostPath": {"path": v["hostPath"], "type": v["pathType"]}})
    return pod


def patched(made: Made, pod: dict[str, Any]) -> dict[str, Any]:
    done: dict[str, Any] = jsonpatch.apply_patch(pod, yaml.safe_load(made.patch.read_text()))
    return done


def node(made: Made, root: Path) -> None:
    """A control-plane node's files after step 2: what it names, where it says, and nothing else."""
    named = re.search(r"2\. Copy (.*) from (\S+) to (\S+) on", made.advice)
    assert named and Path(named[2]) == made.directory
    target = root / named[3].lstrip("/")
    target.mkdir(parents=True)
    for name in named[1].split(", "):
        source = made.directory / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target / name)


def refused(pod: dict[str, Any], root: Path) -> list[str]:
    """Why the kubelet would not run the pod, or the apiserver in it not start (pkg/apis/core/validation; its flags' files)."""
    container, volumes = pod["spec"]["containers"][0], pod["spec"]["volumes"]
    wrong = []
    for what, values in (
        ("volume", [v["name"] for v in volumes]), ("mountPath", [m["mountPath"] for m in container["volumeMounts"]]),
        ("flag", [flag.partition("=")[0] for flag in container["command"]]),
    ):  # fmt: skip
        wrong += [f"{what} {v} twice" for v in {v for v in values if values.count(v) > 1}]
    hosts = {v["name"]: v["hostPath"] for v in volumes}
    wrong += [f"mount {m['name']} without a volume" for m in container["volumeMounts"] if m["name"] not in hosts]
    wrong += [f"hostPath type {h.get('type')}" for h in hosts.values() if h.get("type", "") not in _TYPES]
    wrong += [
        f"no directory {h['path']}" for h in hosts.values()
        if h.get("type") == "Directory" and not (root / h["path"].lstrip("/")).is_dir()
    ]  # fmt: skip
    for flag, _, path in (f.partition("=") for f in container["command"]):
        if flag.startswith("--audit-") and flag.endswith(("-file", "-path")) and inside(pod, root, path) is None:
            wrong.append(f"{flag} {path} below no mount")
    return wrong


def inside(pod: dict[str, Any], root: Path, path: str) -> Path | None:
    """The file on the node that a path in the container is."""
    hosts = {v["name"]: v["hostPath"]["path"] for v in pod["spec"]["volumes"]}
    for mount in pod["spec"]["containers"][0]["volumeMounts"]:
        if path.startswith(mount["mountPath"].rstrip("/") + "/"):
            return root / (hosts[mount["name"]] + path.removeprefix(mount["mountPath"].rstrip("/"))).lstrip("/")
    return None


@pytest.mark.parametrize("url", ["https://sink.example:9443/audit/lab", "http://127.0.0.1:9443/audit"])
@pytest.mark.parametrize("logging", [True, False], ids=["after docs/audit-logging.md", "as kubeadm made it"])
def test_what_it_adds_fits_into_the_static_pod(tmp_path: Path, url: str, logging: bool) -> None:
    """The kubelet refuses a pod with a volume's name or a mount's path twice, or a mount without a volume: no apiserver then."""
    made = sink_init(url, tmp_path / "out", keep_policy=logging)
    node(made, tmp_path / "node")
    pod = patched(made, static_pod(logging=logging))
    assert refused(static_pod(logging=logging), tmp_path / "node") == [] == refused(pod, tmp_path / "node")
    flags = [flag for flag in pod["spec"]["containers"][0]["command"] if flag.startswith("--audit-")]
    assert ("--audit-policy-file=/etc/kubernetes/audit/policy.yaml" in flags) == logging
    assert sum(flag.startswith("--audit-policy-file=") for flag in flags) == 1
    told = re.findall(r"^    (--audit-\S+)", made.advice, re.MULTILINE)
    assert told == flags[-len(told) :] and len(told) == 7 + (not logging)
    kubeconfig = inside(pod, tmp_path / "node", f"{APISERVER_DIR}/webhook.kubeconfig")
    assert kubeconfig
    config = yaml.safe_load(kubeconfig.read_text())
    assert config["clusters"][0]["cluster"]["server"] == url
    for part in (config["clusters"][0]["cluster"], config["users"][0]["user"]):
        for name in ("certificate-authority", "client-certificate", "client-key"):
            there = inside(pod, tmp_path / "node", part.get(name, f"{APISERVER_DIR}/webhook.kubeconfig"))
            assert there and there.is_file()


def test_a_second_policy_and_a_second_volume_would_be_noticed(tmp_path: Path) -> None:
    made = sink_init("https://sink.example:9443/audit/lab", tmp_path / "out")
    node(made, tmp_path / "node")
    assert refused(patched(made, static_pod(logging=True)), tmp_path / "node") == ["flag --audit-policy-file twice"]
    there = sink_init(
        "https://sink.example/audit/lab", tmp_path / "there", apiserver_dir="/etc/kubernetes/audit", keep_policy=True
    )
    assert "mountPath /etc/kubernetes/audit twice" in refused(patched(there, static_pod(logging=True)), tmp_path / "node")
    assert "no directory /etc/kubernetes/audit" in refused(patched(there, static_pod()), tmp_path / "node")


def elsewhere() -> dict[str, tuple[dict[str, str], list[str]]]:
    """The flags and mounts that docs/sink.md gives for kind, k3s and RKE2."""
    blocks = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", (PAGE.parent / "sink.md").read_text(), re.DOTALL))
    made = {}
    for block in blocks:
        if block.get("kind") == "Cluster":
            server = yaml.safe_load(block["nodes"][0]["kubeadmConfigPatches"][0])["apiServer"]
            there = {m["containerPath"] for m in block["nodes"][0]["extraMounts"]}
            made["kind"] = (server["extraArgs"], [v["mountPath"] for v in server["extraVolumes"] if v["hostPath"] in there])
        else:
            flags = dict(a.split("=", 1) for a in block["kube-apiserver-arg"])
            flags |= {k: v for k, v in block.items() if isinstance(v, str)}
            mounts = [m.split(":")[1] for m in block.get("kube-apiserver-extra-mount", ())]
            made["rke2" if mounts else "k3s"] = (flags, mounts or ["/"])  # k3s is no container
    return made


@pytest.mark.parametrize("distribution", ["kind", "k3s", "rke2"])
def test_the_page_says_of_other_distributions_what_is_made(tmp_path: Path, distribution: str) -> None:
    flags, mounts = elsewhere()[distribution]
    home = str(Path(flags["audit-webhook-config-file"]).parent)
    made = sink_init("https://sink.example:9443/audit/lab", tmp_path / "out", apiserver_dir=home)
    told = dict(re.findall(r"^    --(audit-[a-z-]+)=(\S+)", made.advice, re.MULTILINE))
    assert flags.items() <= told.items() and {"audit-policy-file", "audit-webhook-config-file"} <= flags.keys()
    for path in (value for name, value in flags.items() if name.endswith("-file")):
        assert any(path.startswith(m) for m in mounts) and (made.directory / Path(path).name).is_file()
    assert f"{home}/ca.crt" in made.kubeconfig.read_text()


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl here")
def test_kubectl_makes_of_the_patch_what_we_do(tmp_path: Path) -> None:
    made = sink_init("https://sink.example:9443/audit/lab", tmp_path / "out")
    command = re.search(r"^  (kubectl patch .*?) > new.yaml$", made.advice, re.MULTILINE | re.DOTALL)
    assert command
    words = shlex.split(command[1].replace("\\\n", " "))
    there = {"/etc/kubernetes/manifests/kube-apiserver.yaml": HERE / "data" / "kube-apiserver.yaml",
             f"{APISERVER_DIR}/{made.patch.relative_to(made.directory)}": made.patch}  # fmt: skip
    done = subprocess.run([str(there.pop(w, w)) for w in words], capture_output=True, text=True, check=True)
    assert not there
    assert yaml.safe_load(done.stdout) == patched(made, static_pod())


def test_events_arrive_with_nothing_but_what_the_apiserver_is_given(tmp_path: Path) -> None:
    """From the flags of the patched pod alone: the kubeconfig, the server's name and CA, and the client's certificate."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = sink_init(f"https://localhost:{port}/audit/lab", tmp_path / "out")
    node(made, tmp_path / "node")
    pod = patched(made, static_pod())
    flags = dict(flag.partition("=")[::2] for flag in pod["spec"]["containers"][0]["command"])

    def read(path: str) -> Path:
        there = inside(pod, tmp_path / "node", path)
        assert there
        return there

    config = yaml.safe_load(read(flags["--audit-webhook-config-file"]).read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cafile=str(read(cluster["certificate-authority"])))
    context.load_cert_chain(read(user["client-certificate"]), read(user["client-key"]))
    url = urlsplit(cluster["server"])
    options = tls_options(made) | {"client_names": str(made.client_names), "listen": f"127.0.0.1:{port}"}
    with Sink(tmp_path, **options) as sink:
        assert url.hostname and url.port
        assert post((url.hostname, url.port), batch([event("a-1"), event("a-2")]), url.path, context)[0] == 200
        sink.wait_empty()
        asked = ask(str(sink.lake), "user-activity", user="alice", cluster="lab").frame
    assert asked["requests"].to_list() == [2]


def test_the_policy_it_makes_is_one(tmp_path: Path) -> None:
    made = sink_init("https://sink.example:9443/audit/lab", tmp_path)
    assert made.policy
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
