//! What runs as it is written: sites, scripts, Deno, PHP, Ruby.

use super::{
    super::{
        draft::{self, BUILD, Draft, HOME},
        site,
    },
    node,
};
use crate::{
    fact::Application,
    plan::{Error, Plan},
    provider::{deno, site::SERVE},
};

/// Where Deno keeps what it downloaded.
const DENO: &str = "/opt/deno";
/// Where the gems of the Ruby images stand.
const GEMS: &str = "/usr/local/bundle";
/// What gems with parts in C need to be built.
const GEM_TOOLS: [&str; 5] = ["build-essential", "git", "libffi-dev", "libyaml-dev", "pkg-config"];
/// Has the web server of the PHP images serve a directory, its words the directory and the port.
const APACHE: &str = "sed -ri \"s#/var/www/html#$1#g\" /etc/apache2/sites-available/*.conf && \
    sed -ri \"s#^Listen 80\\$#Listen $2#\" /etc/apache2/ports.conf && \
    sed -ri \"s#:80>#:$2>#\" /etc/apache2/sites-available/000-default.conf && \
    printf '<Directory %s>\\nAllowOverride All\\nRequire all granted\\n</Directory>\\n' \"$1\" > /etc/apache2/conf-enabled/app.conf && \
    a2enmod rewrite";

/// Files as they are, behind a web server.
pub(super) fn site(app: &Application) -> Result<Plan, Error> {
    let mut draft = Draft::bare(app, draft::plain("static"));
    if app.start.value.as_deref().is_some_and(|start| start != SERVE) {
        // A file of the project says what serves it.
        draft.copy("app", None, &["."], "./");
        return draft.done();
    }
    site::serve(&mut draft, None, app.output_dir.value.as_deref().unwrap_or("."));
    draft.done()
}

/// A start script.
pub(super) fn shell(app: &Application) -> Result<Plan, Error> {
    let mut draft = Draft::bare(app, draft::plain("debian"));
    draft.copy("app", None, &["."], "./");
    draft.done()
}

pub(super) fn deno(app: &Application) -> Result<Plan, Error> {
    let base = draft::base("deno", Some(&app.runtime));
    let mut draft = Draft::new(app, base.clone(), base);
    draft.stage_env(BUILD, "DENO_DIR", DENO);
    let member = draft.member();
    draft.copy(BUILD, None, &["."], "./");
    draft.commands(BUILD, &member, &app.build);
    draft.copy("app", Some(BUILD), &[HOME], HOME);
    if app.build.value.iter().flatten().any(|command| command.starts_with(deno::CACHE)) {
        draft.copy("app", Some(BUILD), &[DENO], DENO);
        draft.env("DENO_DIR", DENO);
    }
    draft.env("DENO_NO_UPDATE_CHECK", "1");
    draft.done()
}

pub(super) fn php(app: &Application) -> Result<Plan, Error> {
    let base = draft::base("php", Some(&app.runtime));
    let installs = app.install.value.as_ref().is_some_and(|install| !install.is_empty());
    let mut draft = Draft::new(app, base.clone(), base);
    if installs {
        draft.stage("composer", draft::plain("composer"));
        draft.tool("unzip", &["git", "unzip"]);
        draft.copy(BUILD, Some("composer"), &["/usr/bin/composer"], "/usr/local/bin/composer");
        draft.stage_env(BUILD, "COMPOSER_ALLOW_SUPERUSER", "1");
        draft.stage_env(BUILD, "COMPOSER_CACHE_DIR", "/dev/null");
    }
    let member = draft.member();
    draft.install_first(BUILD, &app.details.dependency_files, &member, &app.install);
    node::built_with_assets(&mut draft, &member);
    if draft.argv().first().is_some_and(|word| word == "apache2-foreground") {
        let public = app.output_dir.value.as_deref().unwrap_or_default();
        let is_plain = public.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c));
        let parts = [HOME, &member, public.trim_matches(['.', '/'])];
        let parts = parts.into_iter().filter(|part| !part.is_empty() && is_plain);
        let words = [parts.collect::<Vec<_>>().join("/"), app.port.value.unwrap_or(80).to_string()];
        draft.run("app", draft::shell(APACHE, words), draft::because(&app.output_dir));
    }
    draft.ignore(&["vendor"]);
    draft.done()
}

pub(super) fn ruby(app: &Application) -> Result<Plan, Error> {
    let base = draft::base("ruby", Some(&app.runtime));
    let mut draft = Draft::new(app, base.clone(), base);
    let installs = app.install.value.as_ref().is_some_and(|install| !install.is_empty());
    if installs {
        draft.tool("make", &GEM_TOOLS);
        draft.stage_env(BUILD, "BUNDLE_PATH", GEMS);
        draft.stage_env(BUILD, "BUNDLE_WITHOUT", "development:test");
        if app.package_manager.more.locked {
            draft.stage_env(BUILD, "BUNDLE_FROZEN", "1");
        }
    }
    let member = draft.member();
    draft.install_first(BUILD, &app.details.dependency_files, &member, &app.install);
    node::built_with_assets(&mut draft, &member);
    if installs {
        draft.copy("app", Some(BUILD), &[GEMS], GEMS);
        draft.env("BUNDLE_PATH", GEMS);
        draft.env("BUNDLE_WITHOUT", "development:test");
    }
    draft.ignore(&["log/*", "tmp/*", "vendor/bundle"]);
    draft.done()
}
