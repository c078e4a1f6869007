"""`explain`: where on a picture a network sees a class."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ..errors import DataError, unknown
from .source import ModelSource
from .verb import console, print_json, shown


@dataclass(frozen=True)
class Explain(ModelSource):
    """Draw what speaks for a class over a picture: a class activation map, or Grad-CAM for VGG.

    examples: resnets explain runs/latest picture.jpg; resnets explain runs/latest picture.jpg --class cat --out
    cat.png; resnets explain picture.jpg --network resnet18 --weights resnet18-f37072fd.pth
    """

    paths: Positional[
        Annotated[tuple[Path, ...], arg(help="a run or model folder, and a picture", metavar="MODEL IMAGE")]
    ] = ()
    class_name: Annotated[str, arg(name="class", help="which class; default: the one the network answers with")] = ""
    out: Annotated[Path | None, arg(help="where the picture goes (PNG); default: IMAGE-explained.png, here")] = None
    device: Annotated[str, arg(help="auto: a card if there is one; cpu, cuda, cuda:1 …")] = "auto"
    json: Annotated[bool, arg(help="print one object")] = False

    def run(self) -> int:
        """Look, draw and tell."""
        from .. import api
        from ..analysis.saliency import overlay, saliency
        from ..bundle import as_picture
        from ..data.images import ImageError
        from ..files import write_file

        source, (image,) = self.divided(self.paths, "a picture")
        loaded = api.load(source, self.device)
        classes, seen = loaded.classes, loaded.bundle.preprocessing
        if self.class_name and self.class_name not in classes:
            raise unknown("class", self.class_name, classes)
        try:
            pixels = seen.view(as_picture(image, seen.enough))
        except ImageError as error:
            raise DataError(f"{image}: {error}") from error
        label = classes.index(self.class_name) if self.class_name else None
        model, temperature = loaded.model, loaded.bundle.temperature
        found = saliency(model, seen.normalise(pixels), label, temperature)  # type: ignore[arg-type]
        out = self.out or Path(f"{image.stem}-explained.png")
        write_file(out, overlay(pixels, found))
        name = classes[found.label]
        if self.json:
            facts = {"model": self.weights or str(source), "file": str(image), "class": name}
            print_json({**facts, **found.as_dict(), "out": str(out)})
        else:
            console().print(f"{shown(name)}  {100 * found.probability:.2f} %   {found.method}, bright speaks for it")
            console().print(f"picture  {shown(out)}")
        return 0
