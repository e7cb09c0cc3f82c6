"""Commands on models and versions: list, register, promote, roll back."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from music_genre.cli.context import connect
from music_genre.paths import ProjectPaths


def run_versions(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre.registry import versions as registry

    client, name = connect()
    found = registry.versions(client, name)
    if options.json:
        told = [asdict(v) | {"shadow": v.shadow and v.shadow.model_dump()} for v in found]
        print(json.dumps(told, indent=2))
    elif not found:
        print(f"{name} has no versions yet: `dvc repro` trains one, `music-genre register` registers it")
    else:
        print(f"{'version':>7}  {'model':<9}  {'verdict':<8}  {'macro-F1 validation':>19}  {'test':>5}  aliases")
        for v in found:
            validation, test = ("-" if f is None else f"{f:.3f}" for f in (v.validation_macro_f1, v.test_macro_f1))
            failed = ["failed: " + ", ".join(v.failed)] if v.failed else []
            said = ", ".join([*v.aliases, *failed, *([f"forced: {v.forced}"] if v.forced else [])])
            print(f"{v.version:>7}  {v.model:<9}  {v.verdict:<8}  {validation:>19}  {test:>5}  {said}".rstrip())
        for v in found:
            if v.shadow:
                print(f"\nversion {v.version} {v.shadow}")
        reigns = registry.history(client, name)
        if reigns:
            print("\nchampion from                       to                         why")
        for reign in reigns:
            print(f"{reign.version:>8} {reign.since}  {reign.until or 'now':<25}  {reign.reason}")
    return 0


def run_runs(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre.tracking import runs as tracking

    found = tracking.experiments(connect()[0])
    if found.empty:
        print("no DVC experiment has trained anything yet: `make sweep`, or `dvc exp run -S ...`")
    else:
        print(found.round(3).to_string(index=False, na_rep="-"))
    return 0


def run_register(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre.pipeline.register import describe, register

    print(describe(register(ProjectPaths.find())))
    return 0


def run_promote(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre.registry import versions as registry
    from music_genre.tracking import runs as tracking

    if options.force != bool(options.reason):
        parser.error("--force and --reason TEXT go together")
    client, name = connect()
    with tracking.lock(ProjectPaths.find().root):
        version = registry.promote(client, name, options.version, options.reason)
    print(f"{name} version {version} is champion")
    return 0


def run_rollback(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from music_genre.registry import versions as registry
    from music_genre.tracking import runs as tracking

    client, name = connect()
    with tracking.lock(ProjectPaths.find().root):
        version = registry.rollback(client, name)
    print(f"{name} version {version} is champion again")
    return 0
