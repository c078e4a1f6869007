"""`list` and `describe`: what there is, and what a network is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table
from tyro.conf import Positional, arg

from ..errors import UsageError, unknown
from ..families import FAMILIES, SUFFIXES, VGG_CONVS, name_of, names, network
from ..recipe import as_json
from ..recipes import RECIPES
from ..spec import VGG, Network
from .verb import Verb, console, plain, print_json, shown

KINDS = ("networks", "recipes", "datasets", "protocols", "experiments")


@dataclass(frozen=True)
class List(Verb):
    """Names of networks, recipes, data sets, protocols or experiments.

    examples: resnets list networks; resnets list recipes --json
    """

    what: Positional[Annotated[str, arg(help="networks, recipes, datasets, protocols or experiments")]] = "networks"
    json: Annotated[bool, arg(help="print one object: {what: [names]}")] = False

    def run(self) -> int:
        """Print the names."""
        if self.what not in KINDS:
            raise unknown("list", self.what, KINDS)
        found = self._names()
        if self.json:
            print_json({self.what: found})
        elif self.what == "networks":
            _print_networks()
        elif self.what == "experiments":
            _print_experiments()
        else:
            print("\n".join(found))
        return 0

    def _names(self) -> list[str]:
        if self.what == "networks":
            return names()
        if self.what == "recipes":
            return list(RECIPES)
        if self.what == "protocols":
            from ..evaluation.protocol import PROTOCOLS

            return list(PROTOCOLS)
        if self.what == "experiments":
            from ..experiments.catalogue import EXPERIMENTS

            return list(EXPERIMENTS)
        from ..data.datasets import NAMED
        from ..data.fetch import ARCHIVES

        return [*NAMED, *ARCHIVES]


def _print_experiments() -> None:
    from ..experiments.catalogue import EXPERIMENTS

    table = Table("name", "what", box=None, padding=(0, 2, 0, 0))
    for name, (_, about) in EXPERIMENTS.items():
        table.add_row(name, about)
    console().print(table)


def _print_networks() -> None:
    table = Table("names", "layers", "what", box=None, padding=(0, 2, 0, 0))
    for family in FAMILIES:
        depths = " ".join(map(str, family.depths))
        table.add_row(f"{family.prefix}N", depths, family.about)
    depths = " ".join(map(str, VGG_CONVS))
    table.add_row("vggN, vggN_bn", depths, "Simonyan & Zisserman, without and with BN")
    out = console()
    out.print(table)
    out.print("\nsuffixes, of each kind one, in this order (which a family takes: resnets list networks --json):")
    for group, rows in SUFFIXES.items():
        out.print(f"  {group:<15}{' '.join('_' + row for row in rows)}")
    out.print("\nresnets describe cifar_resnet110_c    shows one")


@dataclass(frozen=True)
class Describe(Verb):
    """What a network is: stages, unit, shortcut, layers, parameters, multiply-adds; or what a run's recipe says.

    examples: resnets describe resnet50; resnets describe cifar_resnet20 --classes 100 --json;
    resnets describe runs/latest
    """

    network: Positional[Annotated[str, arg(help="a network's name, a run folder or a recipe file")]]
    classes: Annotated[int | None, arg(help="number of classes; default 1000, or 10 for CIFAR names")] = None
    channels: Annotated[int, arg(help="input channels")] = 3
    size: Annotated[int | None, arg(help="side of the input in pixels; default 224, or 32 for CIFAR names")] = None
    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Print the facts."""
        if "/" in self.network or self.network.endswith(".json") or Path(self.network).is_dir():
            return self._recipe()
        from dataclasses import replace

        for name, number in (("classes", self.classes), ("channels", self.channels), ("size", self.size)):
            if number is not None and number < 1:
                raise UsageError(f"--{name} is {number}; it must be at least 1")
        base = network(self.network)
        spec = replace(base, classes=self.classes or base.classes, channels=self.channels, size=self.size or base.size)
        facts = describe(spec)
        if self.json:
            print_json(facts)
        else:
            _print_network(facts)
        return 0

    def _recipe(self) -> int:
        from ..plan import recipe_file
        from ..record import read_recipe, resolve

        path = Path(self.network)
        value = as_json(recipe_file(path) if path.suffix == ".json" else read_recipe(resolve(path)))
        if self.json:
            print_json(value)
        else:
            out = console()
            for key, entry in _flat(value):
                out.print(f"{key:<28}{shown(entry)}")
        return 0


def describe(spec: Network | VGG) -> dict[str, Any]:
    """The facts of a network value, measured on the built network; the keys of `describe --json`."""
    from ..analysis.complexity import complexity

    counts = complexity(spec)
    facts: dict[str, Any] = {
        "network": name_of(spec),
        "layers": spec.layers,
        "classes": spec.classes,
        "input": [spec.channels, spec.size, spec.size],
        "parameters": counts.parameters,
        "multiply_adds": counts.multiply_adds,
        "activations": counts.activations,
    }
    if isinstance(spec, VGG):
        rows = zip(spec.convs, spec.widths, strict=True)
        return facts | {
            "stages": [{"convs": n, "width": w} for n, w in rows],
            "bn": spec.bn,
            "hidden": spec.hidden,
        }
    unit = plain(spec.unit)
    return facts | {
        "stem": plain(spec.stem),
        "stages": plain(spec.stages),
        "unit": {"convs": unit["convs"], "order": unit["order"], "strided": unit["strided"]},
        "shortcut": {k: unit[k] for k in ("shortcut", "merge", *_SHORTCUT_FIELDS.get(spec.unit.merge, ()))}
        | ({"option_a": unit["option_a"]} if spec.unit.shortcut == "A" else {}),
        "stochastic_depth": spec.unit.stochastic_depth,
    }


_SHORTCUT_FIELDS = {
    "scale": ("scale",),
    "gate": ("gate_bias",),
    "shortcut-gate": ("gate_bias",),
    "dropout": ("dropout",),
}


def _print_network(facts: dict[str, Any]) -> None:
    out = console()
    channels, size, _ = facts["input"]
    out.print(
        f"{facts['network']}: {facts['layers']} layers, {facts['classes']} classes, input {channels}×{size}×{size}"
    )
    out.print(f"  parameters     {facts['parameters']:>16,}")
    out.print(f"  multiply-adds  {facts['multiply_adds']:>16,}   per image, convolutions and linear layers")
    out.print(f"  activations    {facts['activations']:>16,}   per image, their outputs")
    if "stem" not in facts:
        stages = ", ".join(f"{stage['convs']} × 3×3 of {stage['width']}" for stage in facts["stages"])
        out.print(f"  stages         {stages}; {'with' if facts['bn'] else 'without'} BN")
        return
    stem, unit = facts["stem"], facts["unit"]
    pool = ", 3×3/2 max pooling" if stem["pool"] else ""
    out.print(f"  stem           {stem['kernel']}×{stem['kernel']}/{stem['stride']} of {stem['width']}{pool}")
    for number, stage in enumerate(facts["stages"], 1):
        out.print(f"  layer{number}         {stage['units']:>3} units of {stage['width']}, stride {stage['stride']}")
    out.print(f"  unit           {_unit_text(unit)}")
    out.print(f"  shortcut       {', '.join(f'{key} {value}' for key, value in facts['shortcut'].items())}")
    if facts["stochastic_depth"]:
        out.print(f"  stochastic depth: the last unit is dropped with probability {facts['stochastic_depth']}")


def _unit_text(unit: dict[str, Any]) -> str:
    order, parts = unit["order"], list(unit["order"]["before"])
    for i, conv in enumerate(unit["convs"]):
        stride = " (stride)" if i == unit["strided"] else ""
        width = f" of width {conv['width']:g}" if conv["width"] != 1 else ""
        parts.append(f"{conv['kernel']}×{conv['kernel']}{width}{stride}")
        parts += order["last" if i == len(unit["convs"]) - 1 else "between"]
    return " - ".join([*parts, "merge", *order["after"]])


def _flat(value: dict[str, Any], at: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, entry in value.items():
        if isinstance(entry, list | tuple) and entry and isinstance(entry[0], dict):
            entry = {str(i + 1): " ".join(f"{k} {v}" for k, v in row.items()) for i, row in enumerate(entry)}
        rows += _flat(entry, f"{at}{key}.") if isinstance(entry, dict) else [(f"{at}{key}", entry)]
    return rows
