"""The registry on a folder that looks like a node: cgroups are folders, names are symlinks."""

import pytest
from appstatus_agent.containers.lognames import LogNames
from appstatus_agent.containers.registry import FORGET_SECONDS, NAME_PATIENCE_SECONDS, UNKNOWN, Registry
from appstatus_agent.containers.tree import Hierarchies, find_hierarchies, walk

UID = "4ec7e07a-104c-417d-9869-6dc69d81b9ee"
NEW_UID = "5ec7e07a-104c-417d-9869-6dc69d81b9ef"


class Node:
    """A cgroup-v2 tree and the kubelet's logs in a temporary folder."""

    def __init__(self, root):
        self.cgroups, self.logs = root / "cgroup", root / "log"
        for folder in (self.cgroups, self.logs / "pods", self.logs / "containers"):
            folder.mkdir(parents=True)
        (self.cgroups / "cgroup.controllers").write_text("")
        self.registry = Registry(Hierarchies(self.cgroups), LogNames(self.logs))

    def cgroup(self, path):
        folder = self.cgroups / path.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").write_text("")
        return folder.stat().st_ino

    def remove(self, path):
        folder = self.cgroups / path.strip("/")
        (folder / "cgroup.procs").unlink()
        folder.rmdir()

    def pod(self, number, attempt=0, uid=UID, named=True):
        """Container `number` of pod shop/cart; returns (cgroup path, cgroup id)."""
        runtime_id = f"{number:064x}"
        path = f"/kubepods/burstable/pod{uid}/{runtime_id}"
        if named:
            link = self.logs / "containers" / f"cart_shop_web-{runtime_id}.log"
            link.symlink_to(f"/var/log/pods/shop_cart_{uid}/web/{attempt}.log")
        (self.logs / "pods" / f"shop_cart_{uid}").mkdir(exist_ok=True)
        return path, self.cgroup(path)


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def ids(registry):
    return {container.id for container in registry.containers if container.group}


def test_a_pods_container_has_its_kubernetes_name(node):
    _, inode = node.pod(1)
    node.registry.refresh(now=0)
    assert node.registry.by_cgroup(inode).id == node.registry.label_of(inode) == "/k8s/shop/cart/web"


def test_a_nested_cgroup_is_its_containers(node):
    path, _ = node.pod(1)
    nested = node.cgroup(path + "/system.slice/nginx.service")
    node.registry.refresh(now=0)
    assert node.registry.by_cgroup(nested).id == "/k8s/shop/cart/web"
    assert ids(node.registry) == {"/k8s/shop/cart/web"}


def test_a_restart_counts_and_the_counter_survives_the_gap(node):
    path, _ = node.pod(1)
    node.registry.refresh(now=0)
    container = node.registry.containers[0]
    container.oom_kills = 1
    node.remove(path)
    node.registry.refresh(now=1)
    assert container.group is None and node.registry.containers == [container]
    _, inode = node.pod(2, attempt=1)
    node.registry.refresh(now=100)
    assert node.registry.by_cgroup(inode) is container
    assert (container.restarts, container.oom_kills) == (1, 1)


def test_restarts_before_the_agents_start_are_known_from_the_log(node):
    node.pod(1, attempt=4)
    node.registry.refresh(now=0)
    assert node.registry.containers[0].restarts == 4


def test_a_new_pod_of_the_same_name_is_no_restart_and_the_counter_does_not_fall(node):
    path, _ = node.pod(1, attempt=3)
    node.registry.refresh(now=0)
    node.remove(path)
    path, _ = node.pod(2, attempt=0, uid=NEW_UID)
    node.registry.refresh(now=1)
    assert node.registry.containers[0].restarts == 3
    node.remove(path)
    node.pod(3, attempt=1, uid=NEW_UID)
    node.registry.refresh(now=2)
    assert node.registry.containers[0].restarts == 4


def test_while_two_attempts_exist_the_later_one_counts(node):
    node.pod(2, attempt=1)
    _, old = node.pod(1, attempt=0)
    node.registry.refresh(now=0)
    container = node.registry.by_cgroup(old)
    assert container.group.name.attempt == 1


def test_an_ended_container_keeps_its_id_for_its_last_traffic_and_is_then_forgotten(node):
    path, inode = node.pod(1)
    node.registry.refresh(now=0)
    node.remove(path)
    node.registry.refresh(now=1)
    assert node.registry.label_of(inode) == "/k8s/shop/cart/web"
    node.registry.refresh(now=FORGET_SECONDS + 2)
    assert node.registry.containers == []


def test_a_container_waits_for_its_name(node):
    _, inode = node.pod(1, named=False)
    node.registry.refresh(now=0)
    assert node.registry.pending and node.registry.label_of(inode) is None
    (node.logs / "containers" / f"cart_shop_web-{1:064x}.log").symlink_to("/var/log/pods/x/web/0.log")
    node.registry.refresh_names(now=0.1)
    assert not node.registry.pending and node.registry.label_of(inode) == "/k8s/shop/cart/web"


def test_a_container_that_was_over_before_its_name_was_known_is_still_named(node):
    path, inode = node.pod(1, named=False)
    node.registry.refresh(now=0)
    node.remove(path)
    node.registry.refresh(now=0.2)
    (node.logs / "containers" / f"cart_shop_web-{1:064x}.log").symlink_to("/var/log/pods/x/web/0.log")
    node.registry.refresh_names(now=0.3)
    assert node.registry.label_of(inode) == "/k8s/shop/cart/web"
    assert ids(node.registry) == set()


def test_without_a_name_it_is_shown_by_its_pod_and_runtime_id_counted_and_said_once(node, caplog):
    for number in (1, 2):
        node.pod(number, named=False)
    node.registry.refresh(now=0)
    node.registry.refresh_names(now=NAME_PATIENCE_SECONDS)
    assert ids(node.registry) == {"/k8s/shop/cart/000000000000"}
    assert node.registry.counts()["unnamed"] == 2
    assert len(caplog.records) == 1


def test_what_ended_without_ever_having_a_name_was_the_sandbox(node, caplog):
    path, _ = node.pod(1, named=False)
    node.registry.refresh(now=0)
    node.remove(path)
    node.registry.refresh(now=1)
    node.registry.refresh_names(now=NAME_PATIENCE_SECONDS)
    assert node.registry.containers == [] and not node.registry.pending and not caplog.records


def test_cgroups_that_are_no_containers_are_shown_as_their_path(node):
    root, slice_ = node.cgroup("/"), node.cgroup("/system.slice")
    node.registry.refresh(now=0)
    assert (node.registry.label_of(root), node.registry.label_of(slice_)) == ("/", "/system.slice")


def test_an_owner_that_two_walks_do_not_find_is_unknown(node):
    node.registry.refresh(now=0)
    assert node.registry.label_of(999) is None and node.registry.strangers
    node.registry.refresh(now=1)
    assert node.registry.label_of(999) is None
    node.registry.refresh(now=2)
    assert node.registry.label_of(999) == UNKNOWN and not node.registry.strangers


def test_events_tell_of_a_container_without_a_walk(node):
    path, inode = node.pod(1)
    node.registry.born(inode, path, now=0)
    node.registry.born(inode + 1, path + "/nested", now=0)
    node.registry.refresh_names(now=0.1)
    assert ids(node.registry) == {"/k8s/shop/cart/web"}
    assert node.registry.label_of(inode) == node.registry.label_of(inode + 1) == "/k8s/shop/cart/web"
    container = node.registry.containers[0]
    node.registry.refresh(now=1)
    assert container.group.instance == inode and container.restarts == 0
    node.registry.gone(inode, now=2)
    assert ids(node.registry) == set()
    assert node.registry.label_of(inode) == "/k8s/shop/cart/web"


def test_a_container_that_lived_between_two_walks_is_known(node):
    path, inode = node.pod(1)
    node.remove(path)
    node.registry.born(inode, path, now=0)
    node.registry.gone(inode, now=0.1)
    node.registry.refresh(now=1)
    assert node.registry.label_of(inode) == "/k8s/shop/cart/web"
    assert ids(node.registry) == set()


def test_a_new_cgroup_at_the_same_path_is_a_new_life_though_the_end_of_the_old_was_not_told(node):
    node.registry.born(100, "/system.slice/nginx.service", now=0)
    node.registry.born(101, "/system.slice/nginx.service", now=1)
    (container,) = node.registry.containers
    assert (container.restarts, container.group.instance) == (1, 101)
    assert node.registry.by_cgroup(100) is node.registry.by_cgroup(101) is container


@pytest.mark.parametrize("how", ["event", "walk"])
def test_a_unit_whose_v1_cgroup_was_made_first_has_one_life(node, tmp_path, how):
    v1 = tmp_path / "memory"
    path = "/system.slice/nginx.service"
    (v1 / path[1:]).mkdir(parents=True)
    node.registry = Registry(Hierarchies(node.cgroups, {"memory": v1}), node.registry.names)
    node.registry.refresh(now=0)
    inode = node.cgroup(path)
    if how == "event":
        node.registry.born(inode, path, now=1)
    node.registry.refresh(now=2)
    (container,) = node.registry.containers
    assert container.restarts == 0 and node.registry.by_cgroup(inode) is container


def test_what_lingers_in_v1_after_its_v2_cgroup_is_no_new_life(node, tmp_path):
    v1 = tmp_path / "memory"
    path = "/system.slice/nginx.service"
    (v1 / path[1:]).mkdir(parents=True)
    node.registry = Registry(Hierarchies(node.cgroups, {"memory": v1}), node.registry.names)
    inode = node.cgroup(path)
    node.registry.refresh(now=0)
    assert ids(node.registry) == {path}
    node.remove(path)
    for now in (1, 2):  # once noticed by the walk itself, once afterwards
        node.registry.refresh(now=now)
        assert ids(node.registry) == set()
    node.cgroup(path)
    node.registry.refresh(now=3)
    assert [container.restarts for container in node.registry.containers if container.group] == [1]
    assert node.registry.by_cgroup(inode).id == path


def test_a_cgroup_of_unknown_layout_is_shown_as_it_is_counted_and_said_once(node, caplog):
    node.cgroup("/batch/a")
    node.cgroup("/batch/b")
    node.registry.refresh(now=0)
    node.registry.refresh(now=1)
    assert {"/batch/a", "/batch/b"} < ids(node.registry)
    assert node.registry.counts()["other"] == 3
    assert len([record for record in caplog.records if "layout" in record.message]) == 1


def test_a_units_new_cgroup_is_a_restart(node):
    node.cgroup("/system.slice/nginx.service")
    node.registry.refresh(now=0)
    node.remove("/system.slice/nginx.service")
    node.registry.refresh(now=1)
    node.cgroup("/system.slice/nginx.service")
    node.registry.refresh(now=2)
    assert [container.restarts for container in node.registry.containers if container.group] == [1]


def test_hierarchies_of_v2_hybrid_and_v1_nodes(tmp_path):
    v2, hybrid, v1 = tmp_path / "v2", tmp_path / "hybrid", tmp_path / "v1"
    for folder in (v2, hybrid / "unified", hybrid / "cpu,cpuacct", hybrid / "memory", v1 / "cpu", v1 / "cpuacct"):
        folder.mkdir(parents=True)
    (v2 / "cgroup.controllers").write_text("cpu memory io\n")
    (hybrid / "unified" / "cgroup.controllers").write_text("hugetlb\n")
    assert find_hierarchies(v2) == Hierarchies(v2, {}, frozenset({"cpu", "memory", "io"}))
    both = hybrid / "cpu,cpuacct"
    assert find_hierarchies(hybrid) == Hierarchies(
        hybrid / "unified", {"cpu": both, "cpuacct": both, "memory": hybrid / "memory"}, frozenset({"hugetlb"})
    )
    assert find_hierarchies(v1) == Hierarchies(None, {"cpu": v1 / "cpu", "cpuacct": v1 / "cpuacct"})


def test_walk_survives_a_missing_folder(tmp_path):
    assert walk(tmp_path / "nothing") == {}
