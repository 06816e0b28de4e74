"""The studies in configs/studies/: each can be planned, its runs and folders are distinct."""

from importlib import import_module

import pytest
from places import ROOT

from aftrans_jax.flags import find_config
from aftrans_jax.settings import flat
from aftrans_jax.studies.definition import load_study
from aftrans_jax.studies.plan import plan
from aftrans_jax.studies.rows import row_config

STUDIES = sorted(path.stem for path in (ROOT / "configs" / "studies").glob("[!_]*.py"))


@pytest.mark.parametrize("name", [name for name in STUDIES if name not in ("small", "probe")])
def test_a_shipped_study_can_be_planned(name, tmp_path):
    path = find_config(f"configs/studies/{name}.py", "study")
    module = import_module(f"aftrans_jax.configs.studies.{name}")
    study = load_study(ROOT / "configs" / "studies" / f"{name}.py")
    assert path.endswith(f"configs/studies/{name}.py")
    runs = plan(study, module.get_config(), tmp_path, num_seeds=2, given=())
    assert len({run.log for run in runs}) == len(runs) == 2 * len(study.rows)
    places = [run.workdir for run in runs if run.trained is None]
    assert len(set(places)) == len(places)
    trained = [str(flat(run.config.to_dict())) for run in runs]
    assert len(set(trained)) == len(trained)
    assert f"--study=configs/studies/{name}.py" in module.__doc__


def test_figure_1_has_each_layer_alone():
    study = load_study(ROOT / "configs" / "studies" / "fig1.py")
    layers = [row.changes.get("sacm.layers") for row in study.rows.values()]
    assert sorted(filter(None, layers)) == [(number,) for number in range(1, 13)]


def test_the_shipped_probe_can_be_planned():
    """Its annotated row is no training."""
    module = import_module("aftrans_jax.configs.studies.probe")
    study = load_study(ROOT / "configs" / "studies" / "probe.py")
    base = module.get_config()
    configs = [row_config(name, study.changes(name), base, trains=False) for name in study.rows]
    assert len({str(flat(config.to_dict())) for config in configs}) == len(study.rows)
    with pytest.raises(ValueError, match="for evaluation alone"):
        row_config("annotated box", study.changes("annotated box"), base)
