"""Owners of cgroup paths: every layout that a node may show."""

import pytest
from appstatus_agent.containers.paths import Kind, Owner, owner_of, plain_name

UID = "4ec7e07a-104c-417d-9869-6dc69d81b9ee"
UID_ = UID.replace("-", "_")
STATIC = "7d6c1af0c3b54a0ab7f6f7f1a1d7a3d2"  # a static pod's uid is a hash
ID = "dd79ae7461f33d291c2805f9ec13e0c057507824e81a0ebe8e5010b99ccdf70d"
OUTER = "0" * 64
SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice"

POD_CONTAINERS = {
    "cgroupfs, guaranteed": (f"/kubepods/pod{UID}/{ID}", UID),
    "cgroupfs, burstable": (f"/kubepods/burstable/pod{UID}/{ID}", UID),
    "cgroupfs, static pod": (f"/kubepods/burstable/pod{STATIC}/{ID}", STATIC),
    "systemd, containerd": (f"{SLICE}/cri-containerd-{ID}.scope", UID),
    "systemd, CRI-O": (f"{SLICE}/crio-{ID}.scope", UID),
    "systemd, docker": (f"{SLICE}/docker-{ID}.scope", UID),
    "systemd, guaranteed": (f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope", UID),
    "systemd, static pod": (f"/kubepods.slice/kubepods-pod{STATIC}.slice/crio-{ID}.scope", STATIC),
    "drivers disagree": (f"/system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice:cri-containerd:{ID}", UID),
    "kind, cgroupfs": (f"/docker/{OUTER}/kubelet/kubepods/besteffort/pod{UID}/{ID}", UID),
    "kind, systemd": (
        f"/system.slice/docker-{OUTER}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
        f"kubelet-kubepods-besteffort-pod{UID_}.slice/cri-containerd-{ID}.scope",
        UID,
    ),
}


@pytest.mark.parametrize("path,uid", POD_CONTAINERS.values(), ids=POD_CONTAINERS.keys())
def test_pod_container(path, uid):
    assert owner_of(path) == Owner(Kind.POD_CONTAINER, path, ID, uid)


@pytest.mark.parametrize("path,uid", POD_CONTAINERS.values(), ids=POD_CONTAINERS.keys())
def test_a_nested_cgroup_belongs_to_its_container(path, uid):
    assert owner_of(path + "/init.scope/worker-7") == Owner(Kind.POD_CONTAINER, path, ID, uid)


def test_the_pod_is_where_a_containers_limits_may_also_be():
    assert owner_of(f"/kubepods/pod{UID}/{ID}/nested").pod_path == f"/kubepods/pod{UID}"
    assert owner_of("/system.slice/nginx.service").pod_path == ""


@pytest.mark.parametrize(
    "path,name",
    [
        (f"/docker/{ID}", "/docker/dd79ae7461f3"),
        (f"/system.slice/docker-{ID}.scope", "/docker/dd79ae7461f3"),
        (f"/machine.slice/libpod-{ID}.scope/container", "/podman/dd79ae7461f3"),
        ("/system.slice/nginx.service", "/system.slice/nginx.service"),
        ("/system.slice/system-getty.slice/getty@tty1.service", "/system.slice/system-getty.slice/getty@tty1.service"),
        ("/system.slice/nginx.service/worker", "/system.slice/nginx.service"),
        ("/init.scope", "/init.scope"),
        ("/user.slice/user-1000.slice/session-3.scope", "/user.slice/user-1000.slice"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/firefox.scope", "/user.slice/user-1000.slice"),
        ("/system/nginx", "/system/nginx"),
        ("/a/b/c/d/e", "/a/b/c"),
    ],
)
def test_owner_outside_pods(path, name):
    assert plain_name(owner_of(path)) == name


@pytest.mark.parametrize(
    "path",
    [
        "/", "/kubepods", "/kubepods/burstable", f"/kubepods/burstable/pod{UID}", SLICE, "/kubepods.slice",
        "/system.slice", "/user.slice", "/docker", "/system.slice/dev-hugepages.mount", "/system.slice/docker.socket",
        f"{SLICE}/crio-conmon-{ID}.scope", f"/machine.slice/libpod-conmon-{ID}.scope",
    ],
)
def test_groups_that_are_nobodys_container(path):
    assert owner_of(path).kind is Kind.NONE


def test_what_only_looks_like_a_container_is_shown_as_it_is():
    assert owner_of("/process_api/ed4fc56378d593f84f1e33d9215b2135").kind is Kind.OTHER
    assert owner_of("/kubernetes-test/pod-one").kind is Kind.OTHER
