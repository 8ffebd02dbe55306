"""The price table that ships, and what an operator puts in its place."""

import pytest

from caseprep_pipelines.errors import ConfigurationError
from caseprep_pipelines.report.prices import price_table, rates

PROMISED = [
    *("g4dn.xlarge", "g5.xlarge", "g5.2xlarge", "g5.4xlarge", "g6.xlarge"),
    *("a2-highgpu-1g", "g2-standard-4", "g2-standard-8", "n1-standard-4-t4", "NC6s_v3", "NC4as_T4_v3"),
]


def test_the_usual_gpu_instances_are_in_the_table() -> None:
    assert [name for name in PROMISED if not price_table()[name].gpus] == []


@pytest.mark.parametrize("name", sorted(price_table()))
def test_each_price_says_when_and_where_it_is_from(name: str) -> None:
    price = price_table()[name]
    assert price.source
    assert price.date.year >= 2024
    assert 0 < price.spot < price.on_demand < 10
    assert price.vcpus > 0
    assert (price.gpus > 0) == (price.gpu is not None)


def test_an_hour_of_gpu_is_an_hour_of_its_machine_and_an_hour_of_cpu_a_share() -> None:
    found = rates("g5.2xlarge", "c6i.xlarge")
    assert (found.gpu_hour, found.cpu_hour) == (1.212, 0.0425)
    assert "g5.2xlarge on-demand" in found.basis
    assert rates("g5.2xlarge", "c6i.xlarge", "spot").gpu_hour < found.gpu_hour


def test_azures_own_names_are_known() -> None:
    assert rates("Standard_NC4as_T4_v3", "Standard_D4s_v5").gpu_hour == 0.526


def test_own_prices_take_the_tables_place() -> None:
    found = rates("our-own-box", "our-own-box", own_gpu_hour=0.1, own_cpu_hour=0.01)
    assert (found.gpu_hour, found.cpu_hour) == (0.1, 0.01)
    assert "own price" in found.basis


@pytest.mark.parametrize(
    ("gpu", "cpu", "setting"),
    [("g99.xlarge", "c6i.xlarge", "GPU_INSTANCE"), ("c6i.xlarge", "c6i.xlarge", "GPU_INSTANCE"),
     ("g6.xlarge", "c99.xlarge", "CPU_INSTANCE")],
)  # fmt: skip
def test_an_unknown_instance_is_named_with_what_to_do(gpu: str, cpu: str, setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"CASEPREP_{setting}.*name one of .*, or set CASEPREP_"):
        rates(gpu, cpu)
