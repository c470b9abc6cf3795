//! Sites: what tells a web server to give out an application's files.

use crate::{manifest::Site, plan::site::caddyfile};

/// The name of the file, in the work directory.
pub(super) const FILE: &str = "Caddyfile";

/// What the file says, for a site in a work directory.
pub(super) fn file(site: &Site, directory: &str, port: Option<u16>) -> String {
    let root = match site.root.trim_start_matches("./").trim_matches('/') {
        "" | "." => directory.to_owned(),
        _ if site.root.starts_with('/') => site.root.clone(),
        root => format!("{directory}/{root}"),
    };
    let fallback = site.fallback.as_ref().map(|path| format!("/{}", path.trim_start_matches('/')));
    caddyfile(&root, port, fallback.as_deref()).join("\n") + "\n"
}

/// What starts the web server.
pub(super) fn argv(directory: &str) -> Vec<String> {
    ["caddy", "run", "--config", &format!("{directory}/{FILE}")].map(str::to_owned).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_project_stay_words() {
        let site = Site { root: "./di st".to_owned(), fallback: Some("in\"dex.html".to_owned()) };
        let file = file(&site, "/app/web", Some(8080));
        assert!(file.contains("\n:8080 {\n\troot * \"/app/web/di st\"\n"), "{file}");
        assert!(file.contains(" \"/in\\\"dex.html\"\n"), "{file}");
        let plain = Site { root: ".".to_owned(), fallback: None };
        assert!(super::file(&plain, "/app", None).contains(":80 {\n\troot * /app\n"));
        assert_eq!(argv("/app"), ["caddy", "run", "--config", "/app/Caddyfile"]);
    }
}
