"""Servers that many tests share; none of them harms one."""

from importlib.util import find_spec

import pytest

_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "onnx", "onnxruntime")
collect_ignore_glob = ["test_*.py"] if any(find_spec(package) is None for package in _NEEDED) else []


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Exported models: one that explains itself, one that does not and is never sure; and the folder they are in."""
    from tiny_models import description, onnx_file

    folder = tmp_path_factory.mktemp("models")
    (folder / "tiny.onnx").write_bytes(onnx_file(description()))
    (folder / "unsure.onnx").write_bytes(onnx_file(description(reject_below=1.0), maps=False))
    return folder


@pytest.fixture(scope="session")
def server(models):
    """`resnets serve` of both, ready."""
    from servers import serve

    with serve(models / "tiny.onnx", f"other={models / 'unsure.onnx'}") as found:
        yield found.wait()


@pytest.fixture(scope="session")
def quick():
    """A server whose answers are known by hand, ready; a body may take 1.5 seconds, a decoder 1."""
    from servers import slow

    with slow(body=1.5, decoding=1.0) as found:
        yield found.wait()


@pytest.fixture
def call(capsys):
    """Run the command in this process; answers exit code, standard output, standard error."""
    from resnets.cli.main import main

    def run(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return run
