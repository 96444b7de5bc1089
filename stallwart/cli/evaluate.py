"""`stallwart evaluate`: a bundle and later listings -> a report."""

from pathlib import Path
from typing import Annotated

import typer

from stallwart.cli import shared
from stallwart.evaluation.answers import answers, headline, line
from stallwart.evaluation.evaluate import Options
from stallwart.evaluation.figures import Costs
from stallwart.evaluation.plain import as_dict
from stallwart.model.bundle import read_bundle


def evaluate(
    bundle: shared.BundleFolder,
    listings: shared.Listings,
    labels: shared.Labels = None,
    columns: shared.ColumnNames = "",
    out: Annotated[Path, typer.Option(help="Folder for report.html, report.json and report.md.")] = Path(
        "report"
    ),
    baseline: Annotated[
        bool, typer.Option("--baseline/--no-baseline", help="Fit the text-only n-gram baseline beside it.")
    ] = True,
    evasion: Annotated[
        bool,
        typer.Option("--evasion", help="Also attack words and photos, and write evasion.html and .json."),
    ] = False,
    attacked: Annotated[
        int, typer.Option(min=1, help="Violations of each policy that are attacked, at most.")
    ] = 50,
    lexicon: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --evasion: CSV with the columns term,slang; also attack by putting slang for terms.",
            show_default=False,
        ),
    ] = None,
    replicates: shared.Replicates = 1000,
    as_json: shared.AsJson = False,
) -> None:
    """Report what a bundle may do alone, and how it did on listings later than its training.

    Give it the same files as `train`, later months included: it splits where the bundle's training ended.

    Example:

        stallwart evaluate bundles/first listings/*.parquet --labels labels.csv --out report
    """
    # What these pull takes seconds to load; `stallwart --help` should not wait for it
    from stallwart.evaluation.report import write_report
    from stallwart.evaluation.run import Wanted, evaluate_bundle

    made = read_bundle(bundle)
    costs = made.card["recipe"]["certification"]
    options = Options(
        costs=Costs(miss=costs["miss_cost"], review=costs["review_cost"]), replicates=replicates
    )
    sources = shared.sources(listings, labels, made.taxonomy, columns)
    wanted = Wanted(baseline=baseline, options=options)
    evaluation = evaluate_bundle(made, sources, shared.read_settings(), wanted, shared.show_progress)
    path = write_report(evaluation, out)
    if evasion:
        from stallwart.evaluation.evasion import Attack
        from stallwart.evaluation.evasion_page import write_evasion
        from stallwart.evaluation.run import attack_bundle

        attack = Attack(per_policy=attacked, lexicon=lexicon or ())
        points = attack_bundle(made, sources, shared.read_settings(), attack, shared.show_progress)
        shared.say(f"evasion: {write_evasion(points, made.digest, out)}")
    if as_json:
        shared.print_json(as_dict(evaluation))
        return
    print(headline(evaluation))  # noqa: T201
    for answer in answers(evaluation):
        print(f"- {answer.title}: {answer.status}. {line(answer)}")  # noqa: T201
    print(f"report: {path}")  # noqa: T201
