"""Search of a recipe's hyperparameters, on rolling origins alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from stallwart.core.progress import Track, silent
from stallwart.core.settings import Settings
from stallwart.model.material import Sources
from stallwart.training.fit import macro_average_precision
from stallwart.training.origins import fit_origins, plan, run_folder
from stallwart.training.prepare import prepare
from stallwart.training.recipe import MemberRecipe, Recipe

LEAST_POSITIVES = 20


def tune(
    sources: Sources,
    recipe: Recipe,
    trials: int,
    origins: int,
    settings: Settings,
    track: Track = silent,
) -> tuple[Recipe, float, float]:
    """The best recipe found, its figure, and the figure of the recipe that it started from.

    The figure is the mean over the last `origins` rolling origins of the macro average precision over the
    policies with at least 20 positives there. Trials are kept in the cache folder: the same search goes on
    where it stopped, and its members are not fitted twice.

    Args:
        sources: listings, labels and dates; the test part is never read.
        recipe: where to start.
        trials: how many recipes to try in all, the first being `recipe` itself.
        origins: how many of the latest origins to score.
        settings: limits.
        track: shows how far it is.
    """
    prepared = prepare(sources, recipe, settings, track)
    material, copies = prepared.material, prepared.copies
    work = run_folder(settings.cache_dir, recipe, material, sources.taxonomy)
    chosen = plan(material, prepared.first_origin_months, rolling=True)[-origins:]

    def figure(candidate: Recipe) -> float:
        fitted = fit_origins(material, candidate, sources.taxonomy, chosen, work, copies=copies)
        return float(
            np.mean(
                [
                    macro_average_precision(
                        one.log_odds, material.rows.labels[one.origin.score], LEAST_POSITIVES
                    )
                    for one in fitted
                ]
            )
        )

    study = _study(work, recipe)
    started = figure(recipe)
    done = len([trial for trial in study.trials if trial.state.is_finished()])
    for _ in track(range(max(trials - done, 0)), "tuning", max(trials - done, 0)):
        study.optimize(lambda trial: figure(varied(recipe, trial.suggest_float)), n_trials=1)
    if not study.trials or study.best_value <= started:
        return recipe, started, started
    return varied(recipe, _chosen(study.best_params)), study.best_value, started


def varied(recipe: Recipe, suggest: Callable[..., float]) -> Recipe:
    """The recipe with each member's weight and regularisation as `suggest(name, low, high, log=...)` says."""
    members = [_varied(member, f"{i}-{member.kind}", suggest) for i, member in enumerate(recipe.members)]
    return recipe.model_copy(update={"members": tuple(members)})


def _varied(member: MemberRecipe, name: str, suggest: Callable[..., float]) -> MemberRecipe:
    changes = {"weight": suggest(f"{name}-weight", 0.25, 4.0, log=True)}
    if member.kind == "lexical":
        changes["learning_rate"] = suggest(f"{name}-learning_rate", 0.05, 1.0, log=True)
    elif member.kind == "linear":
        changes["weight_decay"] = suggest(f"{name}-weight_decay", 1e-3, 0.3, log=True)
    else:
        changes["dropout"] = suggest(f"{name}-dropout", 0.0, 0.6)
        changes["modality_dropout"] = suggest(f"{name}-modality_dropout", 0.0, 0.7)
        changes["noise"] = suggest(f"{name}-noise", 0.0, 0.6)
        changes["weight_decay"] = suggest(f"{name}-weight_decay", 1e-3, 0.3, log=True)
    return member.model_copy(update=changes)


def _chosen(parameters: dict[str, Any]) -> Callable[..., float]:
    return lambda name, *_, **__: float(parameters[name])


def _study(work: Path, recipe: Recipe) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    work.mkdir(parents=True, exist_ok=True)
    kinds = "-".join(member.kind for member in recipe.members)
    return optuna.create_study(
        study_name=kinds,
        storage=f"sqlite:///{work / 'tune.sqlite'}",
        sampler=optuna.samplers.TPESampler(seed=recipe.seed),
        direction="maximize",
        load_if_exists=True,
    )
