"""A file that is no kubeconfig is answered in one sentence: a traceback's exit status would say that an SLO is violated."""

from pathlib import Path

import pytest
from appstatus.kube import Kube, NoCluster


@pytest.mark.parametrize("text", ["root:x:0:0", "- a list", "clusters: 3\ncurrent-context: a", "{", ""])
def test_what_is_no_kubeconfig_is_told_so(tmp_path: Path, text: str):
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(NoCluster, match=r"kubeconfig|[Ii]nvalid"):
        Kube.connect(str(file))
