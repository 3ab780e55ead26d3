"""A deployed stack of an earlier release moves to this one: nothing that holds data is replaced or deleted.

tests/releases has the URNs of each release, by the revision that it was made of; tests/release_urns.py writes such a
file. A release adds one and removes none.
"""

import json
from pathlib import Path

import pytest

from local.changes import HOLDS
from tests.graphs import STACKS, graph_of
from tests.release_urns import kept

RELEASES = sorted((Path(__file__).parents[1] / "releases").glob("*.json"))
# What an upgrade replaces all the same, with the reason. An access log that is not under /aws/vendedlogs/ uses up a
# policy of the account; CHANGELOG.md tells.
REPLACED = {
    "6c2abb4": {
        f"{stack} aws:cloudwatch/logGroup:LogGroup pipeline-api-access" for stack in ("analytics", "dev", "ingestion")
    }
}


def test_the_first_release_is_kept_with_all_its_stacks() -> None:
    assert "6c2abb4" in {path.stem for path in RELEASES}
    assert set(json.loads(RELEASES[0].read_text())) == set(STACKS)


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
def test_no_resource_that_holds_data_is_replaced_or_deleted_by_an_upgrade(release: Path) -> None:
    lost, compared = set(), 0
    for stack, resources in json.loads(release.read_text()).items():
        now = kept(graph_of(stack))
        for urn, before in resources.items():
            kind, name = urn.rpartition("$")[2].split("::")
            if kind in HOLDS:
                compared += 1
                if now.get(urn) != before:
                    lost.add(f"{stack} {kind} {name}")
    assert compared > 40
    assert lost == REPLACED.get(release.stem, set())
