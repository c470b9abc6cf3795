//! Python: dependencies in an environment of their own, which the image takes as it is.

use super::{
    super::draft::{self, BUILD, Draft},
    node,
};
use crate::{
    fact::Application,
    plan::{Error, Plan},
};

/// Where the environment stands.
const ENVIRONMENT: &str = "/opt/venv";
/// That and what every Debian has.
const PATH: &str = "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn plan(app: &Application) -> Result<Plan, Error> {
    let base = draft::base("python", Some(&app.runtime));
    let mut draft = Draft::new(app, base.clone(), base);
    let installs = app.install.value.as_ref().is_some_and(|install| !install.is_empty());
    draft.stage_env(BUILD, "PIP_NO_CACHE_DIR", "1");
    draft.stage_env(BUILD, "PIP_DISABLE_PIP_VERSION_CHECK", "1");
    draft.stage_env(BUILD, "PYTHONDONTWRITEBYTECODE", "1");
    if installs {
        draft.run(BUILD, ["python", "-m", "venv", ENVIRONMENT].map(str::to_owned).to_vec(), None);
        draft.stage_env(BUILD, "PATH", PATH);
    }
    let member = draft.member();
    draft.install_first(BUILD, &app.details.dependency_files, "", &app.install);
    node::built_with_assets(&mut draft, &member);
    if installs {
        draft.copy("app", Some(BUILD), &[ENVIRONMENT], ENVIRONMENT);
        draft.env("PATH", PATH);
    }
    draft.env("PYTHONDONTWRITEBYTECODE", "1");
    draft.env("PYTHONUNBUFFERED", "1");
    draft.ignore(&["**/*.py[co]", "**/.pytest_cache", "**/.mypy_cache", "**/.ruff_cache", "**/.tox", "**/venv"]);
    draft.done()
}
