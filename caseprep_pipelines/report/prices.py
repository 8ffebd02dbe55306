"""What an hour of GPU and of vCPU costs: from the table that ships with the package, or as the operator says.

The table is `prices.toml`: list prices, dated, to be replaced by one's own.
"""

import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Literal

from caseprep_pipelines.errors import ConfigurationError


@dataclass(frozen=True)
class Price:
    """An instance's price per hour in USD."""

    name: str
    cloud: str
    region: str
    gpus: int
    vcpus: int
    on_demand: float
    spot: float
    """Typical, for orientation."""
    date: date
    source: str
    gpu: str | None = None


@dataclass(frozen=True)
class Rates:
    """What cost is counted with."""

    gpu_hour: float
    """USD for an hour of one GPU, with the machine that it is in."""
    cpu_hour: float
    """USD for an hour of one vCPU of a machine without a GPU."""
    basis: str
    """Where the two are from, for people."""


@cache
def price_table() -> dict[str, Price]:
    """Every price that ships, by the instance's name."""
    text = files("caseprep_pipelines.report").joinpath("prices.toml").read_text(encoding="utf-8")
    return {row["name"]: Price(**row) for row in tomllib.loads(text)["instance"]}


def rates(
    gpu_instance: str,
    cpu_instance: str,
    pricing: Literal["on-demand", "spot"] = "on-demand",
    own_gpu_hour: float | None = None,
    own_cpu_hour: float | None = None,
) -> Rates:
    """The rates of two instances of the table; an operator's own prices take their place.

    Raises `ConfigurationError` where the table has no such instance, or one without a GPU for the GPU stages.
    """

    def price(instance: Price) -> float:
        return instance.spot if pricing == "spot" else instance.on_demand

    def named(instance: Price) -> str:
        return f"{instance.name} {pricing} in {instance.region}, {instance.date:%Y-%m-%d}"

    if own_gpu_hour is None:
        gpu = _instance(gpu_instance, "CASEPREP_GPU_INSTANCE", "CASEPREP_GPU_HOUR_PRICE", with_gpu=True)
        gpu_hour, gpu_basis = price(gpu) / gpu.gpus, named(gpu)
    else:
        gpu_hour, gpu_basis = own_gpu_hour, "own price"
    if own_cpu_hour is None:
        cpu = _instance(cpu_instance, "CASEPREP_CPU_INSTANCE", "CASEPREP_CPU_HOUR_PRICE", with_gpu=False)
        cpu_hour, cpu_basis = price(cpu) / cpu.vcpus, named(cpu)
    else:
        cpu_hour, cpu_basis = own_cpu_hour, "own price"
    return Rates(gpu_hour, cpu_hour, f"GPU hour ${gpu_hour:.4g} ({gpu_basis}); vCPU hour ${cpu_hour:.4g} ({cpu_basis})")


def _instance(name: str, setting: str, instead: str, *, with_gpu: bool) -> Price:
    table = price_table()
    # Azure's own names of its sizes begin so
    found = table.get(name.removeprefix("Standard_"))
    if found is None or (with_gpu and not found.gpus):
        known = ", ".join(sorted(price.name for price in table.values() if price.gpus or not with_gpu))
        why = "has no GPU" if found else "is not in the price table"
        raise ConfigurationError(f"{setting}: {name} {why}; name one of {known}, or set {instead} to your own price")
    return found
