"""A run as the user asks for it, from any input to any output, and what does not go together in it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legscore.dna.contract import Contract
from legscore.errors import InputError, OutputError
from legscore.input.read import open_input
from legscore.input.roles import choose_carried_columns
from legscore.output.write import output_format
from legscore.rows.schema import find_roles
from legscore.run.finished import asked_of, earlier_output
from legscore.run.options import Options
from legscore.run.settings import resolve_sequence_is
from legscore.system.overwrite import check_apart
from legscore.system.publish import check_output, is_stream, written_by
from legscore.system.storage import is_remote

if TYPE_CHECKING:
    from legscore.variants.options import BuildOptions

VCF = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")
TRACKS = (".bedgraph", ".bg", ".bw", ".bigwig")


@dataclass(frozen=True)
class RunRequest:
    """A run as the user asks for it, from any input to any output.

    Attributes:
        options: of the run; its inputs and output are those of the user.
        build: how a VCF or a table of alleles becomes rows; None where the input is a table of sequences.
        samples: `all` or names: rows are these samples' haplotypes instead of single alleles.
        shuffles: add p and q from so many shuffled inserts of each row; 0 for none.
        command: what the record says started the run.
        shown: input that was kept aside → what the user called it.
    """

    options: Options
    build: BuildOptions | None = None
    samples: str | None = None
    shuffles: int = 0
    command: str | Mapping[str, Any] | None = None
    shown: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown_inputs(self) -> list[str]:
        """What the record calls the inputs."""
        return [self.shown.get(str(path), str(path)) for path in self.options.inputs]

    @property
    def vcf_form(self) -> str | None:
        """`vcf`, `vcf.gz` or `bcf` where the output is a VCF; None where it is none."""
        name = self.options.output.lower()
        if is_stream(self.options.output):
            return self.options.format if self.options.format in ("vcf", "bcf") else None
        found = next((ending for ending in VCF if name.endswith(ending)), None)
        return found and {".vcf.bgz": "vcf.gz"}.get(found, found[1:])

    @property
    def to_vcf(self) -> bool:
        return self.vcf_form is not None

    @property
    def to_tracks(self) -> bool:
        return self.options.output.lower().endswith(TRACKS)

    @property
    def scores_aside(self) -> bool:
        """Whether the scores are turned into the output once all are there."""
        return self.to_vcf or self.to_tracks or self.shuffles > 0

    @property
    def files(self) -> list[str]:
        """Every file that is read, beside the models."""
        options, build = self.options, self.build
        named = [*options.inputs, *(build.files() if build else ()), self.samples]
        return [
            str(path) for path in (*named, options.calibration, options.background, options.recipe) if path
        ]

    @property
    def results(self) -> list[str]:
        """What the output consists of: itself, or its tracks."""
        output = self.options.output
        return [str(path) for path in track_files(output)] if self.to_tracks else [output]

    def asked(self) -> dict[str, Any]:
        """What was asked for, for the record and for a later run to the same output."""
        build = asdict(self.build) if self.build else None
        more = {"build": build, "samples": self.samples, "shuffles": self.shuffles}
        return asked_of(self.options, self.files, more)

    @property
    def written(self) -> list[str]:
        """Every file that is written: the output or its tracks, and the record."""
        tracks = track_files(self.options.output) if self.to_tracks else []
        return [*written_by(self.options.output), *map(str, tracks)]


def samples_asked(haplotypes: bool, samples: str | None) -> str | None:
    """Whose haplotypes are rows; None when alleles are."""
    if samples is not None and not haplotypes:
        raise InputError("--samples says whose haplotypes; give --haplotypes too")
    return (samples or "all") if haplotypes else None


def track_files(output: str) -> list[Path]:
    """The files of a track output: one for each strand."""
    path = Path(output)
    return [path.with_name(f"{path.stem}.{word}{path.suffix}") for word in ("plus", "minus")]


def check_request(request: RunRequest, log_json: str | None = None, multiqc: str | None = None) -> None:
    """InputError or OutputError where what was asked for does not go together.

    Args:
        request: what was asked for. log_json: the file of events. multiqc: that for MultiQC.
    """
    options, inputs, output = request.options, list(request.options.inputs), request.options.output
    check_apart(
        {"-o": request.written, "--log-json": log_json, "--multiqc": multiqc},
        request.files,
        options.named_models,
        earlier_output(output, force=options.force),
    )
    _check_null(request)
    if options.ensembles and (request.to_vcf or request.to_tracks):
        raise InputError(
            f"{output} holds the scores of one ensemble; write a table, or score {options.ensembles[0]} alone"
        )
    if request.build is None:
        if request.samples:
            raise InputError("--haplotypes is about variants in a genome; give --fasta too")
        if any(name.lower().endswith(VCF) for name in inputs):
            raise InputError(
                f"{inputs[0]}: a VCF needs --fasta GENOME and --promoters GTF, --tiles BED or --centered"
            )
    named = output if output != "-" else f"--format {options.format}"
    if (request.to_vcf or options.format in ("vcf", "bcf")) and (
        request.build is None or request.samples or not inputs[0].lower().endswith(VCF)
    ):
        raise InputError(
            f"{named}: a VCF comes out only where one goes in, with --fasta and without --haplotypes"
        )
    _check_vcf_form(request)
    if request.to_vcf or request.to_tracks:
        idle = {"--keep": options.keep != "auto", "--per-model": options.per_model}
        idle["--calibration"] = options.calibration is not None
        idle["--background"] = options.background is not None
        if name := next((name for name, given in idle.items() if given), None):
            raise InputError(f"{name} is about columns of a table; {output} has none")
    if request.build is None and not request.scores_aside:
        if options.student is not None:
            _check_output(request)
        return
    if request.build is not None:
        _check_build(options)
        if options.shifts is not None and request.build.context == "genome" and not request.build.centered:
            raise InputError(
                "--shifts moves windows of genome around a variant: --context genome needs --centered with it"
            )
    if request.build is not None and len(inputs) != 1:
        raise InputError(
            f"with --fasta give one input, not {len(inputs)}; join VCFs with bcftools concat first"
        )
    if elsewhere := next((path for path in (*request.files, output) if is_remote(path)), None):
        raise InputError(
            f"{elsewhere}: genomes, VCF, tracks and --shuffle-null need files on a disk; score a table from "
            "a store"
        )
    if options.shard and request.scores_aside:
        what = "--shuffle-null" if request.shuffles else output
        raise InputError(f"--shard goes with tables, not with {what}")
    _check_output(request)


def _check_vcf_form(request: RunRequest) -> None:
    """OutputError where --format and the output do not go together, or binary data would reach a terminal."""
    asked, output = request.options.format, request.options.output
    if asked in ("vcf", "bcf") and not is_stream(output) and (request.vcf_form or "").split(".")[0] != asked:
        raise OutputError(f"--format {asked} contradicts the extension of {output}; drop one of them")
    if asked in ("arrow", "tsv") and request.to_vcf:
        raise OutputError(f"--format {asked} contradicts the extension of {output}; drop one of them")
    if asked == "bcf" and output == "-" and sys.stdout is not None and sys.stdout.isatty():
        raise OutputError("--format bcf writes binary data; send it into a pipe or a file, not to a terminal")


def _check_build(options: Options) -> None:
    """InputError for what is said of a table of sequences, where the rows are made from a genome."""
    from legscore.variants.allele_tables import ROLES

    if other := next((role for role in options.columns if role not in ROLES), None):
        raise InputError(
            f"--column {other} is about tables of sequences; with --fasta rows are made from "
            f"{', '.join(ROLES)}"
        )
    if options.kind:
        raise InputError(
            "--kind is about tables of sequences; with --fasta rows are made from chrom, pos, ref and alt: "
            "leave it out"
        )
    if options.sequence_is not in ("auto", "insert"):
        raise InputError(
            f"--sequence-is {options.sequence_is}: with --fasta rows are inserts; --context genome fills the "
            "model's whole window"
        )


def _check_null(request: RunRequest) -> None:
    """InputError where a null of shuffled inserts cannot be that of the run's own scores."""
    options, output = request.options, request.options.output
    if not request.shuffles:
        return
    if options.ensembles:
        raise InputError(
            "--shuffle-null compares the effects of one ensemble; score the ensembles "
            f"{', '.join(options.ensembles)} without it, or one of them alone"
        )
    if request.to_vcf or request.to_tracks or len(options.inputs) != 1:
        raise InputError(
            "--shuffle-null adds the columns p and q to a table, from one input; it does not go with "
            f"{output}"
        )
    if output.endswith("/"):
        raise InputError(f"--shuffle-null writes one table; {output} asks for a folder of files")
    if options.shifts is not None:
        raise InputError("--shuffle-null compares windows as they are; --shifts moves them: leave one out")
    if options.student is not None:
        raise InputError(
            "--shuffle-null does not go with --student: p compares scores of the same models; leave one out"
        )
    for name, value in (("--until-se", options.until_se), ("--out-of-fold", options.out_of_fold)):
        if value is not None:
            raise InputError(
                f"--shuffle-null does not go with {name}: a row's shuffles would be scored by other members "
                "than the row, and p compares them; leave one out"
            )


def check_null_rows(job: Options, contract: Contract) -> None:
    """InputError where the rows that a job is to score can have no null; `contract` is that of its models."""
    opened = open_input(job.inputs, may_be_empty=True)
    roles = find_roles(opened.schema.names, opened.name, job.kind, job.columns)
    if roles.kind.windows != 2:
        raise InputError(
            "--shuffle-null needs rows that change a base: ref_sequence and alt_sequence, or sequence, "
            "offset and alt_base"
        )
    form = resolve_sequence_is(opened, roles, contract, job.sequence_is, lambda line: None)
    if form == "window":
        raise InputError(
            "--shuffle-null needs to know where the insert lies, which a window does not say; pass inserts "
            "or oligos"
        )
    if clash := {"p", "q"} & set(choose_carried_columns(opened, roles, job.keep)):
        raise InputError(
            f"the input already has the column {min(clash)!r}, which --shuffle-null writes; leave it out "
            "with --keep"
        )


def _check_output(request: RunRequest) -> None:
    output = request.options.output
    if is_stream(output):
        return
    if not (request.to_vcf or request.to_tracks):
        output_format(output, None)
    check_output(output)
