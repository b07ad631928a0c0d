"""Names from the kubelet's log files."""

import pytest
from appstatus_agent.containers.lognames import ContainerName, LogNames, PodName, parse_attempt, parse_link, parse_pod_dir

ID = "dd79ae7461f33d291c2805f9ec13e0c057507824e81a0ebe8e5010b99ccdf70d"


def test_link_name():
    name = f"coredns-6f46547fc5-ljhwx_kube-system_coredns-{ID}.log"
    assert parse_link(name) == (ID, PodName("kube-system", "coredns-6f46547fc5-ljhwx"), "coredns")


def test_a_container_name_may_contain_dashes_and_hex():
    assert parse_link(f"web-0_shop_side-car-abc123-{ID}.log") == (ID, PodName("shop", "web-0"), "side-car-abc123")


@pytest.mark.parametrize("name", ["", "README", "a_b_c.log", f"a_b-{ID}.log", f"a_b_c-{ID}", f"a_b_c_d-{ID}.log", f"_b_c-{ID}.log"])
def test_other_files_are_no_containers(name):
    assert parse_link(name) is None


@pytest.mark.parametrize("uid", ["4ec7e07a-104c-417d-9869-6dc69d81b9ee", "7d6c1af0c3b54a0ab7f6f7f1a1d7a3d2"])
def test_pod_folder(uid):
    assert parse_pod_dir(f"shop_cart-7c9_{uid}") == (uid, PodName("shop", "cart-7c9"))


def test_other_folders_are_no_pods():
    assert parse_pod_dir("lost+found") is None


@pytest.mark.parametrize(
    "target,attempt",
    [("/var/log/pods/a_b_c/web/0.log", 0), ("/var/log/pods/a_b_c/web/12.log", 12), ("/var/log/pods/a_b_c/web/3.log.20261121", 3),
     ("/var/lib/docker/containers/x/x-json.log", 0)],
)
def test_attempt_is_the_log_files_number(target, attempt):
    assert parse_attempt(target) == attempt


def test_names_of_a_node(tmp_path):
    folder = tmp_path / "pods" / "shop_cart-7c9_4ec7e07a-104c-417d-9869-6dc69d81b9ee" / "web"
    folder.mkdir(parents=True)
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / f"cart-7c9_shop_web-{ID}.log").symlink_to(folder / "2.log")  # dangling: links outlive files
    names = LogNames(tmp_path)
    assert names.container(ID) is None
    names.refresh()
    assert names.container(ID) == ContainerName("shop", "cart-7c9", "web", attempt=2)
    assert names.pod("4ec7e07a-104c-417d-9869-6dc69d81b9ee") == PodName("shop", "cart-7c9")
    (tmp_path / "containers" / f"cart-7c9_shop_web-{ID}.log").unlink()
    names.refresh()
    assert names.container(ID) is None


def test_a_node_without_kubernetes_has_no_names(tmp_path):
    names = LogNames(tmp_path)
    names.refresh()
    assert not names.readable() and names.pod("x") is None
