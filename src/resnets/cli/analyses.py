"""What `analyze` looks at, and how it tells what it found: one row per analysis."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..families import name_of, network
from .verb import shown

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..testing import Trial
    from .analyze import Analyze

_ADVICE = "give MODEL… and then DATA, such as: resnets analyze {} runs/latest digits"


@dataclass(frozen=True)
class Kind:
    """An analysis: the function in its file, and the options of the verb that it takes where they are given.

    images: how many it looks at unless the verb says; 0: at none, and at no data. fresh: a network's name stands for
    its first weights.
    """

    function: str
    options: tuple[str, ...] = ()
    images: int = 1000
    fresh: bool = False


KINDS = {
    "responses": Kind("responses", ("kernels",)),
    "lesions": Kind("lesions", ("draws",)),
    "paths": Kind("paths", ("draws",), images=32),
    "gradients": Kind("gradients", images=200, fresh=True),
    "complexity": Kind("stages", ("images",), images=0),
    "shorten": Kind("shorten", ("max_loss",)),
    "theory": Kind("everything", images=0),
}


@dataclass(frozen=True)
class Found:
    """What is printed for programs, and for people."""

    facts: dict[str, Any]
    lines: list[str]


@dataclass(frozen=True, eq=False)
class View:
    """A model by its label, the pictures that it is seen on, and what is to be said of them."""

    label: str
    model: Any
    batches: list[Any]
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()


def look(verb: "Analyze") -> Found:
    """Do the analysis that VERB asks for, and write what it keeps."""
    kind = KINDS[verb.what]
    if verb.at != (0,) and not (kind.fresh and all(map(_is_name, verb.inputs[:-1]))):
        raise UsageError("--at is for gradients of networks by their names, such as cifar_plain20; leave it out")
    if verb.what in _OTHERS:
        return _OTHERS[verb.what](verb)
    if verb.out:
        _probe(verb.out.parent)
    module = import_module(f"resnets.analysis.{verb.what}")
    results: dict[str, Any] = {}
    lines, rows, notes = list[str](), list[dict[str, Any]](), list[str]()
    for view in _views(verb, kind):
        seen = [view.batches] if kind.images else []
        found = getattr(module, kind.function)(view.model, *seen, **_given(verb, kind))
        label = view.label if view.label not in results else f"{view.label} ({len(results) + 1})"
        results[label] = found
        rows.append({"model": label, **view.facts, **found.as_dict()})
        lines += [_head(label, view.facts), *found.lines(), ""]
        notes += [note for note in view.notes if note not in notes]
    if verb.out:
        from ..files import write_file

        write_file(verb.out, module.picture(results).encode())
    tail = [f"picture  {shown(verb.out)}" if verb.out else f"--out {verb.what}.svg draws the picture"]
    facts = {"analysis": verb.what, "models": rows, "notes": notes, "out": str(verb.out) if verb.out else None}
    return Found(facts, [*lines, *(f"note: {shown(note)}" for note in notes), *tail])


def _given(verb: "Analyze", kind: Kind) -> dict[str, Any]:
    return {name: value for name in kind.options if (value := getattr(verb, name)) is not None}


def _head(label: str, facts: dict[str, Any]) -> str:
    where = ", {images} of {of} images of {data}, {part} part".format(**facts) if "of" in facts else ""
    return f"{shown(label)}: {facts['network']}{shown(where)}"


def _views(verb: "Analyze", kind: Kind) -> Iterator[View]:
    models, data = _divided(verb, kind)
    for model in models:
        if not kind.images:
            yield _value(model)
        elif kind.fresh and isinstance(model, str) and _is_name(model):
            yield from _fresh(verb, model, data)
        else:
            trial = _trial(verb, model, data, verb.part)
            yield _seen(verb, model, trial)


def _divided(verb: "Analyze", kind: Kind) -> tuple[list[Any], str]:
    """The models, and the data that they are seen on."""
    from ..testing import ForeignModel

    given, data = list(verb.inputs), ""
    if bool(verb.network) != bool(verb.weights):
        raise UsageError("give either MODEL, or both --network and --weights")
    if kind.images:
        data = given.pop() if given else ""
        if data and any((Path(data) / name).is_file() for name in ("recipe.json", "config.json")):
            raise UsageError(f"{data} is a model; {_ADVICE.format(verb.what)}")
    if not given and not verb.weights:
        advice = _ADVICE if kind.images else "give NETWORK…, such as: resnets analyze {} vgg19 resnet34"
        raise UsageError(f"nothing to look at; {advice.format(verb.what)}")
    pairs = [(verb.network or "", verb.weights)] if verb.weights else []
    pairs += map(_pair, given)
    foreign = {"normalize": verb.normalize, "origin": verb.origin or None}
    return [ForeignModel(name, file, **foreign) if file else name for name, file in pairs], data


def _pair(text: str) -> tuple[str, str]:
    """The network and the file of NETWORK=FILE; of a name or a folder itself and nothing."""
    name, _, file = text.partition("=")
    return (name, file) if _is_name(name) else (text, "")


def _is_name(text: str) -> bool:
    """Whether TEXT is the name of a network and of nothing here."""
    with suppress(UsageError):
        return bool(network(text)) and not Path(text).exists()
    return False


def _value(model: Any) -> View:
    """A network's value, by its name or that of a model."""
    from .. import bundle
    from ..record import model_folder

    name = model if isinstance(model, str) else model.network
    spec = bundle.load(model_folder(name)).network if "/" in name or Path(name).is_dir() else network(name)
    return View(name, spec, [], {"network": name_of(spec)})


def _trial(verb: "Analyze", model: Any, data: str, part: str) -> "Trial":
    from ..testing import Test, prepared

    return prepared([model], data, Test(part=part, device=verb.device))


def _seen(verb: "Analyze", model: Any, trial: "Trial") -> View:
    """A trained model and a sample of its test."""
    from ..analysis.sample import drawn
    from ..models.device import device_called

    bundle = trial.bundles[0]
    batches = drawn(trial.source, bundle.preprocessing, _images(verb))
    label = model if isinstance(model, str) else model.network
    facts = _facts(name_of(bundle.network), trial.dataset.name, trial.part, batches, len(trial.source))
    notes = (*trial.dataset.notes, *trial.notes)
    return View(label, bundle.model().to(device_called(verb.device)), batches, facts, notes)


def _images(verb: "Analyze") -> int:
    return KINDS[verb.what].images if verb.images is None else verb.images


def _fresh(verb: "Analyze", name: str, data: str) -> Iterator[View]:
    """The network called NAME after --at updates on DATA, 0 with the weights it begins with, and training images."""
    from ..analysis.sample import drawn
    from ..api import moments

    for moment in moments(data, verb.at, device=verb.device, network=name, recipe=verb.recipe):
        job = moment.job
        batches = drawn(job.source, job.preprocessing, _images(verb))
        label = name if verb.at == (0,) else f"{name}, update {moment.update:,}"
        facts = _facts(name, moment.data, "train", batches, len(job.source))
        yield View(label, job.model, batches, facts | {"update": moment.update})


def _facts(name: str, data: str, part: str, batches: list[Any], of: int) -> dict[str, Any]:
    return {"network": name, "data": data, "part": part, "images": sum(map(len, batches)), "of": of}


def _shortened(verb: "Analyze") -> Found:
    """Choose on one part of the data, check on another, keep the shorter network."""
    from ..analysis.sample import error_rate
    from ..analysis.shorten import shorten, shorter
    from ..bundle import save
    from ..data.batches import testing_batches
    from ..models.device import device_called

    models, data = _divided(verb, KINDS["shorten"])
    if len(models) > 1:
        raise UsageError("one model at a time can be shortened")
    place = verb.out or _beside(models[0])
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UsageError(f"{place} is there already; choose another --out")
    checked = _trial(verb, models[0], data, verb.part)
    others = [part for part in ("val", "train") if part in checked.dataset.parts and part != checked.part]
    if not others:
        raise UsageError(f"{checked.dataset.name} has one part only; what goes is chosen on another than the check")
    view = _seen(verb, models[0], _trial(verb, models[0], data, others[0]))
    found = shorten(view.model, view.batches, **_given(verb, KINDS["shorten"]))
    facts: dict[str, Any] = {"analysis": "shorten", "model": view.label, **view.facts, **found.as_dict()}
    lines = [_head(view.label, view.facts), *found.lines()]
    if not found.cuts:
        return Found({**facts, "check": None, "out": None}, [*lines, "nothing to keep: no unit can go"])
    _probe(place.parent)
    whole = checked.bundles[0]
    spec, tensors = shorter(view.model, found.units)
    made = replace(whole, network=spec, tensors={name: tensor.cpu() for name, tensor in tensors.items()})
    device = device_called(verb.device)
    before, after = (
        error_rate(each.model().to(device), testing_batches(checked.source, whole.preprocessing))
        for each in (whole, made)
    )
    lost = round(after.percent - before.percent, 6)
    check = {"part": checked.part, "before": before.as_dict(), "after": after.as_dict(), "lost": lost}
    save(_with_facts(made, view.facts["network"], found.units, check), place)
    says = "as asked" if lost <= verb.max_loss else f"more than the {verb.max_loss:g} asked for"
    layers = f"{whole.network.layers} → {spec.layers} layers"
    return Found(
        {**facts, "check": check, "layers": spec.layers, "within": lost <= verb.max_loss, "out": str(place)},
        [
            *(*lines, ""),
            f"checked on all {after.images} images of the {checked.part} part: {layers}, {lost:+.2f} points, {says}",
            f"  {'as it was':<22}{before}",
            f"  {'shortened':<22}{after}",
            f"model    {shown(place)}",
        ],
    )


def _with_facts(made: "Bundle", name: str, units: list[str], check: dict[str, Any]) -> "Bundle":
    """MADE, and where it comes from: the errors of the longer network are not its own."""
    facts = {key: value for key, value in made.facts.items() if not key.endswith("_error")}
    own = {"test_error": check["after"]["error"]} if check["part"] == "test" else {}
    return replace(made, facts={**facts, **own, "shortened": {"from": name, "without": units, "check": check}})


def _theory(verb: "Analyze") -> Found:
    """What the papers state, checked on small networks: no model, no data."""
    from ..analysis.theory import everything

    if verb.inputs:
        raise UsageError("theory looks at small networks of its own; leave out what follows it")
    checks = everything(quick=verb.draws == 1)
    lines = [
        line
        for check in checks
        for line in (f"{check.name}: {check.says} ({check.source})", "", check.markdown, "", _holds(check.holds), "")
    ]
    return Found({"analysis": "theory", "checks": [vars(check) for check in checks]}, lines[:-1])


def _holds(holds: bool) -> str:
    return "what was measured bears it out" if holds else "what was measured does not bear it out"


_OTHERS = {"shorten": _shortened, "theory": _theory}


def _beside(model: Any) -> Path:
    from ..record import resolve

    if not isinstance(model, str):
        return Path(f"{model.network}-shorter")
    folder = resolve(model)
    return folder.with_name(f"{folder.name}-shorter")


def _probe(folder: Path) -> None:
    from ..files import probe

    probe(folder)
