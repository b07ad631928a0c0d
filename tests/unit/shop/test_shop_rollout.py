"""When a workload counts as rolled out."""

import pytest
from rollout import pending


def deployment(generation=1, replicas=3, **status):
    return {
        "kind": "Deployment",
        "metadata": {"name": "cart", "generation": generation},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 1, **status},
    }


def daemon_set(**status):
    return {
        "kind": "DaemonSet",
        "metadata": {"name": "cart", "generation": 1},
        "spec": {},
        "status": {"observedGeneration": 1, **status},
    }


@pytest.mark.parametrize(
    ("workload", "lack"),
    [
        (deployment(generation=2, replicas=0), "not seen by its controller yet"),
        (deployment(), "0 of 3 ready"),
        (deployment(readyReplicas=3, updatedReplicas=1, replicas=3), "1 of 3 ready"),
        (deployment(readyReplicas=2, updatedReplicas=3), "2 of 3 ready"),
        (daemon_set(desiredNumberScheduled=0), "scheduled on no node yet"),
        (daemon_set(desiredNumberScheduled=2, numberReady=1, updatedNumberScheduled=2), "1 of 2 ready"),
    ],
)
def test_what_is_not_rolled_out_says_what_it_lacks(workload, lack):
    assert pending([workload]) == {"cart": lack}


def test_old_instances_must_be_gone():
    rolled = deployment(readyReplicas=3, updatedReplicas=3)
    rolled["status"]["replicas"] = 4
    assert pending([rolled]) == {"cart": "1 old instances still there"}


@pytest.mark.parametrize(
    "workload",
    [
        deployment(replicas=0),
        deployment(readyReplicas=3, updatedReplicas=3),
        daemon_set(desiredNumberScheduled=2, numberReady=2, updatedNumberScheduled=2),
    ],
)
def test_what_is_rolled_out_lacks_nothing(workload):
    assert pending([workload]) == {}
