//! Sites: files that a web server gives out.

use super::draft::{BUILD, Draft, HOME, shell};
use crate::provider::site::PORT;

/// Where the files of a site stand in its image.
pub(super) const FILES: &str = "/app/site";
/// What starts the web server.
const START: [&str; 4] = ["caddy", "run", "--config", "/app/Caddyfile"];
/// What a site of one page answers where there is no such file.
const PAGE: &str = "/index.html";
/// Writes its words as lines.
pub(crate) const WRITE: &str = "printf '%s\\n' \"$@\" > /app/Caddyfile";

/// The lines of the file that tells the web server which directory it serves, and what it answers where there is no such
/// file. On port 80, if nothing says another.
pub(crate) fn caddyfile(root: &str, port: Option<u16>, fallback: Option<&str>) -> Vec<String> {
    let fallback = fallback.map(|path| format!(" {}", quoted(path))).unwrap_or_default();
    vec![
        "{".to_owned(),
        "\tadmin off".to_owned(),
        "\tauto_https off".to_owned(),
        "}".to_owned(),
        format!(":{} {{", port.unwrap_or(PORT)),
        format!("\troot * {}", quoted(root)),
        "\tencode gzip".to_owned(),
        format!("\ttry_files {{path}} {{path}}/index.html {{path}}.html{fallback}"),
        "\tfile_server".to_owned(),
        "}".to_owned(),
    ]
}

/// A word that has a meaning of its own, or spaces, in quotes.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

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
    let fallback = app.details.single_page.then_some(PAGE);
    draft.run("app", shell(WRITE, caddyfile(FILES, app.port.value, fallback)), None);
    draft.start(&START, HOME);
    draft.env("XDG_CONFIG_HOME", "/tmp");
    draft.env("XDG_DATA_HOME", "/tmp");
}

/// The directory that a build leaves the site in.
pub(super) fn built(draft: &mut Draft<'_>, directory: &str) {
    serve(draft, Some(BUILD), directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_starts_what_the_analysis_says() {
        assert_eq!(START.join(" "), crate::provider::site::SERVE);
    }
}
