"""The studies in configs/studies/: each can be planned, its runs and folders are distinct."""

import pytest
from places import ROOT

from aftrans_jax.experiment.workdir import flat
from aftrans_jax.flags import find_config
from aftrans_jax.studies.definition import load_study
from aftrans_jax.studies.plan import plan

STUDIES = sorted(path.stem for path in (ROOT / "configs" / "studies").glob("[!_]*.py"))


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "small"])
def test_a_shipped_study_can_be_planned(name, tmp_path):
    from importlib import import_module

    path = find_config(f"configs/studies/{name}.py", "study")
    module = import_module(f"aftrans_jax.configs.studies.{name}")
    study = load_study(ROOT / "configs" / "studies" / f"{name}.py")
    assert path.endswith(f"configs/studies/{name}.py")
    runs = plan(study, module.get_config(), tmp_path, num_seeds=2, given=())
    assert len({run.workdir for run in runs}) == len(runs) == 2 * len(study.rows)
    trained = [str(flat(run.config.to_dict())) for run in runs]
    assert len(set(trained)) == len(trained)
    assert f"--study=configs/studies/{name}.py" in module.__doc__
