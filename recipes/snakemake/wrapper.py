"""Snakemake wrapper for `legscore run`."""

import shlex  # no import from __future__: Snakemake puts its own lines first

from snakemake.shell import shell


def given(name: str, option: str) -> str:
    """An option and its quoted values; nothing where the rule has none."""
    found = snakemake.input.get(name) or snakemake.params.get(name) or []
    values = [found] if isinstance(found, str) else found
    return " ".join(f"{option} {shlex.quote(str(value))}" for value in values)


source = shlex.quote(str(snakemake.input.get("table") or snakemake.input[0]))
output = shlex.quote(str(snakemake.output[0]))
options = " ".join(
    given(name, option)
    for name, option in (
        ("model", "-m"),
        ("fasta", "--fasta"),
        ("promoters", "--promoters"),
        ("tiles", "--tiles"),
    )
)
extra = snakemake.params.get("extra", "")
log = snakemake.log_fmt_shell(stdout=True, stderr=True)
# a rerun of the rule replaces the output of the run before; an interrupted run resumes
shell(
    f"legscore run {source} {options} -o {output} --threads {snakemake.threads} --force --quiet {extra} {log}"
)
