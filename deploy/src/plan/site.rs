//! Sites: files that a web server gives out.

use super::draft::{BUILD, Draft, HOME, shell};

/// Where the files of a site stand in its image.
pub(super) const FILES: &str = "/app/site";
/// What starts the web server.
const START: [&str; 4] = ["caddy", "run", "--config", "/app/Caddyfile"];
/// On which port it listens if nothing says another.
const PORT: u16 = 80;
/// Writes its words as lines.
pub(crate) const WRITE: &str = "printf '%s\\n' \"$@\" > /app/Caddyfile";

/// Puts the files of a directory, of a stage's or the context's, behind a web server.
pub(super) fn serve(draft: &mut Draft<'_>, from: Option<&str>, directory: &str) {
    let app = draft.app;
    let directory = directory.trim_start_matches("./").trim_matches('/');
    let source = match (from, directory) {
        (None, "" | ".") => "./".to_owned(),
        (None, directory) => format!("{directory}/"),
        (Some(_), directory) => {
            let member = draft.member();
            let parts = [HOME, &member, directory].into_iter().filter(|part| !matches!(*part, "" | "."));
            format!("{}/", parts.collect::<Vec<_>>().join("/"))
        }
    };
    draft.copy("app", from, &[&source], &format!("{FILES}/"));
    let site = format!(":{} {{", app.port.value.unwrap_or(PORT));
    let mut lines = vec!["{", "\tadmin off", "\tauto_https off", "}", &site, "\troot * /app/site"];
    lines.push("\tencode gzip");
    lines.push(if app.details.single_page {
        "\ttry_files {path} {path}/index.html {path}.html /index.html"
    } else {
        "\ttry_files {path} {path}/index.html {path}.html"
    });
    lines.extend(["\tfile_server", "}"]);
    draft.run("app", shell(WRITE, lines.into_iter().map(str::to_owned)), None);
    draft.start(&START, HOME);
    draft.env("XDG_CONFIG_HOME", "/tmp");
    draft.env("XDG_DATA_HOME", "/tmp");
}

/// The directory that a build leaves the site in.
pub(super) fn built(draft: &mut Draft<'_>, directory: &str) {
    serve(draft, Some(BUILD), directory);
}
