"""Messages that name options of the command line → the same messages in the words of Python.

Checks are shared by the commands and the functions, and say what to change as a command takes it:
`--precision fp32`. What is raised, said or warned of from Python passes here and reads `precision='fp32'`.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Collection
from types import FrameType
from typing import ParamSpec, TypeVar

from legscore.errors import LegscoreError, LegscoreWarning
from legscore.run.python_kinds import plain_arguments
from legscore.system.extras import naming_extras
from legscore.system.log import Notice, Say

P = ParamSpec("P")
R = TypeVar("R")

ARGUMENTS = {
    "-m": "models", "--model": "models", "-o": "output", "-g": "generator", "--from": "start",
    "--column": "columns", "--tiles": "regions_bed", "--regions": "regions_bed", "--biotype": "biotypes",
    "--truth": "truths", "--prediction": "predictions", "--key": "keys", "--replicate": "replicates",
    "--class": "class_column", "--ensemble-curve": "curve",
    "--fasta-out": "fasta", "--calibrate": "legscore.calibrate_effects",
}  # fmt: skip
"""Options whose argument has another name than theirs."""
FLAGS = {
    "haplotypes", "centered", "keep_outside", "saturate", "saturate_indels", "per_model", "force", "restart",
    "allow_duplicates", "variant", "curve", "rc_trained", "force_student", "score_misses",
    "allow_other_engine", "drop_outside",
}  # fmt: skip
MAPPINGS = {"columns", "where"}
"""Arguments that take a dict where the option takes NAME=VALUE."""
FUNCTIONS = {
    "run": "legscore.score_file", "variants": "legscore.build_variants",
    "evaluate": "legscore.evaluate_predictions", "design": "legscore.design_sequences",
    "import": "legscore.import_model", "lookup": "legscore.lookup_variants",
}  # fmt: skip
WORDS = (
    "fp32", "bf16", "fp16", "construct", "insert", "oligo", "window", "none", "genome", "gene", "status",
    "fail", "use-fasta", "all", "auto", "greedy", "evolve", "generator", "arrow", "tsv", "refill",
    "openvino", "native", "tensorrt", "torch", "null", "mmh3", "bundled", "pair", "edit", "sequence",
)  # fmt: skip
"""Values that an option may have in a message; any other word after it goes on with the sentence."""

_OTHERS = (
    r"\b(?:pip|iconv|bcftools|samtools|tabix|"
    r"legscore (?:merge|cache|compile|train|ablate|doctor|models|atlas)) [^;)`]*"
)
"""Commands that are run in a shell, also by those who use Python."""
_VALUE = (
    r"'[^']*'|\w+=[^\s;,?:]+|[\w.,]+(?:\|[\w.,]+)+|\d+(?:,\d+)+(?![\w-])|\d[\d.]*[KMGT]?(?![\w-])|"
    rf"(?:{'|'.join(WORDS)})(?![\w:-])|[A-Z][A-Z0-9_]*(?![\w-])|[^\s:,;]+(?=: )|-(?=[\s)])"
)
_OPTION = re.compile(
    rf"(?P<other>{_OTHERS})"
    r"|\blegscore import (?P<file>[^\s-]\S*) -o (?P<out>\S+)"
    r"|\blegscore (?P<command>" + "|".join(FUNCTIONS) + r")(?P<given>(?: --?[a-z][a-z-]*)*)(?![\w-])"
    r"|(?<![\w/'\"-])(?P<option>--[a-z][a-z0-9]*(?:-[a-z0-9]+)*|-[mog])(?![\w-])"
    rf"(?:[ =](?P<value>{_VALUE}))?"
    r"|\bVARIANTS\b"
)


def in_python(message: str, parameters: Collection[str] = ()) -> str:
    """The message with arguments and functions in place of options and commands; a second time changes
    nothing.

    Args:
        message: as the command line says it.
        parameters: of the function that was called; one that is called as the option wins (`truth` of
            `calibrate_effects`, where others have `truths`).
    """
    return _OPTION.sub(lambda found: _said(found, parameters), message)


def _said(found: re.Match[str], parameters: Collection[str]) -> str:
    if found["other"]:
        return found[0]
    if found["file"]:
        return f"legscore.import_model({found['file']!r}, {found['out']!r})"
    if found["command"]:
        return _call(found["command"], found["given"].split())
    if found["option"]:
        return _argument(found["option"], found["value"], parameters)
    return "source"


def _call(command: str, options: list[str]) -> str:
    """A command with options, as a call: `legscore.score_file(per_model=True)`."""
    if options == ["--help"]:
        return f"help({FUNCTIONS[command]})"
    if "--calibrate" in options:
        return ARGUMENTS["--calibrate"]
    names = [argument_of(option) for option in options]
    given = ", ".join(f"{name}={'True' if name in FLAGS else '...'}" for name in names)
    return FUNCTIONS[command] + (f"({given})" if given else "")


def argument_of(option: str, parameters: Collection[str] = ()) -> str:
    """The argument that an option is called in Python."""
    same = option.lstrip("-").replace("-", "_")
    return same if same in parameters else ARGUMENTS.get(option) or same


def _argument(option: str, value: str | None, parameters: Collection[str]) -> str:
    name = argument_of(option, parameters)
    if option.startswith("--no-"):
        return f"{name.removeprefix('no_')}=False"
    if name in FLAGS:
        return f"{name}=True" + (f" {value}" if value else "")
    if value is None:
        return name
    key, equals, text = value.strip("'").partition("=")
    if equals and name in MAPPINGS:
        return f"{name}={{{key!r}: {text!r}}}"
    if re.fullmatch(r"\d+(,\d+)+", value):
        return f"{name}=({value.replace(',', ', ')})"
    shown = [one if re.fullmatch(r"\d[\d.]*", one) else repr(one) for one in value.strip("'").split("|")]
    return f"{name}={' or '.join(shown)}"


def speaks_python(function: Callable[P, R]) -> Callable[P, R]:
    """A function that refuses arguments of another kind than their annotation, and whose LegscoreErrors name
    arguments instead of options, and packages that are missing."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = plain_arguments(signature, args, kwargs)
            with naming_extras():
                return function(*bound.args, **bound.kwargs)
        except LegscoreError as error:
            raise_in_python(error, signature.parameters)
            raise

    return called


def raise_in_python(error: LegscoreError, parameters: Collection[str] = ()) -> None:
    """Change the error's message in place: its type, its traceback and its cause stay."""
    error.args = (in_python(str(error), parameters),)


def told_in_python(say: Say | None) -> Say:
    """What takes the lines of a call: `say` in the words of Python; without one only notices are heard, as
    Python's warnings."""
    if say is not None:
        heard = say
        return lambda line: heard(in_python(line))
    return warn_of_notice


def warn_of_notice(line: str) -> None:
    """Warn of a notice, as of the line of the user's code that led to it; other lines are of no concern to
    those who did not ask to hear them."""
    if not isinstance(line, Notice):
        return
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "legscore":
        frame = frame.f_back
    where = (frame.f_code.co_filename, frame.f_lineno) if frame else (__file__, 1)
    text = in_python(str(line)).removeprefix("warning: ")
    warnings.warn_explicit(text, LegscoreWarning, *where)  # every time: another run is another warning
