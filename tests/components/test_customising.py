"""The way out that docs/customising.md shows."""

import re

from components.config import load_stack
from components.pipeline import DataPipeline
from local.recording import synthesise
from tests.graphs import ROOT, SAMPLES


def test_the_transform_in_the_docs_changes_the_resource_it_names_and_no_other() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/customising.md").read_text(), re.DOTALL)

    def program() -> None:
        exec(example, {})  # noqa: S102  the text of the docs, as a reader would paste it
        DataPipeline("pipeline", load_stack())

    graph = synthesise(SAMPLES, program=program, config={"variant": "api"})
    retention = {queue.name: queue.inputs["messageRetentionSeconds"] for queue in graph.of_type("aws:sqs/queue:Queue")}
    assert retention == {"pipeline-queue": 4 * 86_400, "pipeline-queue-dead-letters": 86_400}
