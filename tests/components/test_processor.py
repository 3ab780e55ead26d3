"""A processor's packages, variables and rights reach the functions that run it and no others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components import processor as processor_module
from components.config import ConfigError, load_stack
from components.options.processor import ENVIRONMENT_CHARACTERS, POLICY_CHARACTERS, RESERVED_VARIABLES
from components.options.secrets import SECRETS_CHARACTERS
from components.pipeline import DataPipeline
from components.requirements import PackageError
from local.recording import Graph, synthesise
from local.rules import findings

ROOT = Path(__file__).parents[2]
ACCOUNT = "123456789012"
MAIL = {"actions": ["ses:SendEmail"], "resources": [f"arn:aws:ses:us-east-1:{ACCOUNT}:identity/shop.example"]}
LOOK_UP = {"actions": ["dynamodb:GetItem", "s3:GetObjectTagging"], "resources": ["arn:aws:s3:::rates/current.json"]}
RUN_THE_PROCESSOR = {"pipeline-worker", "pipeline-breaker"}


def statements(graph: Graph) -> dict[str, list[dict[str, Any]]]:
    policies = graph.of_type("aws:iam/rolePolicy:RolePolicy")
    return {policy.name: json.loads(policy.inputs["policy"])["Statement"] for policy in policies}


def variables(graph: Graph) -> dict[str, dict[str, str]]:
    functions = graph.of_type("aws:lambda/function:Function")
    return {function.name: function.inputs["environment"]["variables"] for function in functions}


@pytest.mark.parametrize("encryption", [{}, {"customer_key": {}}], ids=["keys of AWS", "customer key"])
def test_rights_go_to_the_functions_that_run_the_processor_and_to_no_other(
    graph_of: Callable[..., Graph], encryption: dict[str, Any]
) -> None:
    common: dict[str, Any] = {"encryption": encryption, "queue": {"redrive_api": {}}, "reports": {}}
    before = statements(graph_of(worker={"circuit_breaker": {}}, **common))
    policy = {"send_mail": MAIL, "look_up_rates": LOOK_UP}
    after = statements(graph_of(worker={"circuit_breaker": {}, "policy": policy}, **common))
    own = [
        {"Sid": sid, "Effect": "Allow", "Action": rights["actions"], "Resource": rights["resources"]}
        for sid, rights in (("ProcessorLookUpRates", LOOK_UP), ("ProcessorSendMail", MAIL))
    ]
    for name, found in after.items():
        added = [statement for statement in found if statement not in before[name]]
        assert added == (own if name in RUN_THE_PROCESSOR else [])
        assert [statement for statement in found if statement not in own] == before[name]


def test_variables_go_to_the_functions_that_run_the_processor_and_to_no_other(graph_of: Callable[..., Graph]) -> None:
    given = {"SHOP": "tea", "Region2": "eu"}
    found = variables(graph_of(worker={"circuit_breaker": {}, "environment": given}, queue={"redrive_api": {}}))
    assert {name for name, each in found.items() if given.items() <= each.items()} == RUN_THE_PROCESSOR
    assert {name for name, each in found.items() if given.keys() & each.keys()} == RUN_THE_PROCESSOR


def test_the_names_that_a_processor_may_not_use_are_those_that_the_pipeline_uses(
    graph_of: Callable[..., Graph],
) -> None:
    graphs = [
        graph_of(
            worker={
                "circuit_breaker": {"key_field": "id"},
                "secrets": {"key": f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/key"},
            },
            outcomes={},
            fault_injection={},
            storage={"results": results},
        )
        for results in ("inline", "object")
    ]
    used = {name for graph in graphs for function in RUN_THE_PROCESSOR for name in variables(graph)[function]}
    assert {name for name in used if not name.startswith("POWERTOOLS_")} == RESERVED_VARIABLES


@pytest.mark.parametrize("name", ["TABLE_NAME", "AWS_REGION", "LAMBDA_TASK_ROOT", "POWERTOOLS_LOG_LEVEL", "PIPELINE_X"])
def test_a_name_that_is_used_already_is_refused(graph_of: Callable[..., Graph], name: str) -> None:
    with pytest.raises(ConfigError, match=rf"worker\.environment\.{name}\.\[key\]: is used by the pipeline"):
        graph_of(worker={"environment": {name: "x"}})


@pytest.mark.parametrize(
    "rights",
    [
        {**MAIL, "actions": ["ses:*"]},
        {**MAIL, "actions": ["*"]},
        {**MAIL, "actions": ["ses:Send?mail"]},
        {**MAIL, "actions": []},
        {**MAIL, "resources": []},
        {**MAIL, "resources": ["shop.example"]},
        {**MAIL, "resources": ["arn:aws:ses:us-east-1:1234:identity/x"]},
        {**MAIL, "effect": "Deny"},
    ],
)
def test_rights_that_are_not_exact_are_refused(graph_of: Callable[..., Graph], rights: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"worker\.policy\.mail\."):
        graph_of(worker={"policy": {"mail": rights}})


def test_a_resource_with_a_wildcard_is_a_finding(graph_of: Callable[..., Graph]) -> None:
    exact = graph_of(api={"auth": "iam"}, worker={"policy": {"mail": MAIL}})
    wide = graph_of(api={"auth": "iam"}, worker={"policy": {"mail": {**MAIL, "resources": ["*"]}}})
    assert [each.rule for each in findings(wide) if each not in findings(exact)] == ["no-wildcard-resources"]


def test_the_longest_environment_and_policy_fit_beside_the_longest_secrets(graph_of: Callable[..., Graph]) -> None:
    arn = f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:{{}}-AbC123"
    secret = arn.format("n" * (SECRETS_CHARACTERS // 10 - len(arn) - 8))
    secrets = {f"secret_{letter}": secret[:-1] + letter for letter in "abcdefghij"}
    resource = "arn:aws:s3:::" + "b" * ((POLICY_CHARACTERS - 200) // 20)
    graph = graph_of(
        worker={
            "circuit_breaker": {},
            "secrets": secrets,
            "environment": {"LONG": "v" * (ENVIRONMENT_CHARACTERS - 4)},
            "policy": {"read": {"actions": ["s3:GetObject"], "resources": [resource + f"{n:02}" for n in range(18)]}},
        },
        outcomes={},
        fault_injection={},
        encryption={"customer_key": {}},
        network={"vpc": {}},
        storage={"archive": {}},
    )
    assert all(len(json.dumps(each)) < 4_096 for each in variables(graph).values())
    by_role: dict[str, int] = {}
    for policy in graph.of_type("aws:iam/rolePolicy:RolePolicy"):
        role = policy.inputs["role"]
        by_role[role] = by_role.get(role, 0) + len("".join(policy.inputs["policy"].split()))
    assert max(by_role.values()) <= 10_240


# Packages


@pytest.fixture
def deployed(tmp_path: Path) -> Callable[..., Graph]:
    """`deployed(code, requirements)`: a project elsewhere, with a processor and a requirements file of its own."""

    def graph(code: str, requirements: str | None = None, **config: Any) -> Graph:
        (tmp_path / "processors").mkdir(exist_ok=True)
        (tmp_path / "processors" / "mine.py").write_text(code)
        worker: dict[str, Any] = {"processor": "processors.mine:process", **config}
        if requirements is not None:
            (tmp_path / "requirements-mine.txt").write_text(requirements)
            worker["requirements"] = "requirements-mine.txt"
        return synthesise(
            tmp_path,
            program=lambda: DataPipeline("pipeline", load_stack()),
            config={"variant": "api", "environment": "dev", "worker": worker},
        )

    return graph


def pinned(package: str) -> str:
    """The line of the project's own requirements that pins a package."""
    text = (ROOT / "requirements.txt").read_text().replace("\\\n", "")
    return next(line for line in text.splitlines() if line.startswith(f"{package}=="))


NEEDS = (ROOT / "tests/cases/api/processors/needs.py").read_text()
PYDANTIC = ("pydantic", "pydantic-core", "annotated-types", "typing-extensions", "typing-inspection")


def test_requirements_that_bring_nothing_make_no_layer_which_lambda_would_refuse(
    deployed: Callable[..., Graph],
) -> None:
    of_the_pipeline = (ROOT / "handlers" / "requirements.txt").read_text()
    for bringing_nothing in ("", of_the_pipeline):
        layers = deployed("def process(event): ...\n", bringing_nothing).of_type("aws:lambda/layerVersion:LayerVersion")
        assert [layer.name for layer in layers] == ["pipeline-dependencies"]


def test_an_import_that_nothing_provides_is_refused_with_its_line_and_what_to_do(
    deployed: Callable[..., Graph],
) -> None:
    where = "processors/mine.py:1: imports pydantic, which the function does not have"
    with pytest.raises(PackageError, match=f"{where}: name a requirements file .* in worker.requirements"):
        deployed(NEEDS)
    with pytest.raises(PackageError, match=f"{where}: add its package to requirements-mine.txt, with hashes"):
        deployed(NEEDS, pinned("typer"))
    with pytest.raises(PackageError, match=r"processors/mine.py:1: there is no module processors\.gone"):
        deployed("from processors.gone import process\n")


def test_packages_are_a_layer_of_the_functions_that_run_the_processor_and_of_no_other(
    deployed: Callable[..., Graph],
) -> None:
    graph = deployed(NEEDS, "\n".join(map(pinned, PYDANTIC)), circuit_breaker={})
    # Resources that do not need each other are registered in any order.
    layers = sorted(graph.of_type("aws:lambda/layerVersion:LayerVersion"), key=lambda layer: layer.name)
    assert [layer.name for layer in layers] == ["pipeline-dependencies", "pipeline-processor"]
    found = {each.name: each.inputs["layers"] for each in graph.of_type("aws:lambda/function:Function")}
    base, own = found["pipeline-worker"]
    assert [arn.split(":")[-2] for arn in (base, own)] == [layer.inputs["layerName"] for layer in layers]
    assert {name for name, arns in found.items() if arns == [base, own]} == RUN_THE_PROCESSOR
    assert {name for name, arns in found.items() if arns == [base]} == found.keys() - RUN_THE_PROCESSOR


def test_a_project_elsewhere_is_packaged_with_its_own_processors(deployed: Callable[..., Graph]) -> None:
    graph = deployed("def process(event): ...\n")
    code = graph.find("aws:lambda/function:Function", "pipeline-worker").inputs["code"].assets
    assert [name for name in code if name.startswith("processors/")] == ["processors/mine.py"]
    assert "handlers/api/worker.py" in code


def test_a_layer_above_50_mb_goes_through_the_stack_s_bucket(
    deployed: Callable[..., Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor_module, "LARGEST_DIRECT_BYTES", 10)
    graph = deployed("def process(event): ...\n", pinned("typer"))
    (uploaded,) = graph.of_type("aws:s3/bucketObjectv2:BucketObjectv2")
    layer = graph.find("aws:lambda/layerVersion:LayerVersion", "pipeline-processor").inputs
    bucket = graph.find("aws:s3/bucket:Bucket", "pipeline-bucket").physical_name
    assert (uploaded.inputs["bucket"], layer["s3Bucket"]) == (bucket, bucket)
    assert uploaded.inputs["key"] == layer["s3Key"]
    assert uploaded.inputs["key"].startswith("layers/packages-")
    assert "code" not in layer
