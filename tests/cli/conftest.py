"""The command, called in the process of the test."""

import pytest

from resnets.cli.main import main


@pytest.fixture
def call(capsys):
    """Run the command in this process; answers exit code, standard output, standard error."""

    def run(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return run
