//! What an assistant left behind in `/out`: judged, stored, merged.

use std::{fs, io, path::Path};

use aigis_proxy::{Code, Error, services::steps::Finished};
use aigis_registry::{AppState, app_state::MAX_BYTES, archive, tree};

use super::{attempt::Live, folder::trouble, place::Place};

/// How often a merged state is mended before it is given up.
const MENDS: usize = 8;

/// The state that a step leaves.
#[derive(Debug)]
pub(super) struct Left {
    state: AppState,
    next: Option<String>,
    warnings: Vec<String>,
    /// What is wrong with what was written; the state is without that.
    wrong: Option<Error>,
}

/// Reads what a step wrote as state, over what it found.
pub(super) fn state(input: &Path, output: &Path, assistant: &str) -> Result<Left, Error> {
    let unreadable = |error: io::Error| trouble("the state of a step cannot be read", &error);
    let (mut before, _) = AppState::read(&input.join("state")).map_err(unreadable)?;
    before.clear("next");
    let (mut wrong, place) = (None, output.join("state"));
    let (mut written, mut warnings) = match is_directory(&place) {
        true => AppState::read(&place).map_err(unreadable)?,
        false => {
            let message = format!("{assistant} put something else in the place of the directory /out/state");
            wrong = Some(Error::invalid(message).with("path", "/out/state"));
            Default::default()
        }
    };
    if written.get("next").is_none()
        && let Some(next) = beside(&output.join("next"))
    {
        written.set("next", next);
    }
    let next = written.take_next();
    let mut state = before.clone();
    warnings.extend(state.merge(written));
    for _ in 0..MENDS {
        let Err(error) = state.check() else { break };
        let file = error.detail("file").and_then(|file| file.as_str()).unwrap_or_default().to_owned();
        match before.get(&file) {
            Some(content) if Some(content) != state.get(&file) => state.set(&file, content.to_vec()),
            _ => state.clear(&file),
        }
        let message = format!("{assistant} wrote a state that cannot be used: {}", error.message);
        wrong.get_or_insert(Error { message, ..error });
    }
    Ok(Left { state, next, warnings, wrong })
}

/// Whether that is a directory, or nothing. A link would lead out of what the container has, to what is the host's.
fn is_directory(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(about) => about.is_dir(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// `/out/next`, if that is a small regular file.
fn beside(path: &Path) -> Option<Vec<u8>> {
    let about = fs::symlink_metadata(path).ok()?;
    if !about.is_file() || about.len() > MAX_BYTES {
        return None;
    }
    fs::read(path).ok()
}

/// Stores a state; what a failed step leaves is that, its exit code and what was odd.
pub(super) async fn remains(place: &Place, live: &Live, left: &Left, exit_code: i64) -> Result<Finished, Error> {
    let folder = live.folder.path().join("work").join("state");
    let put = || -> io::Result<()> {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&folder)?;
        left.state.write(&folder)
    };
    put().map_err(|error| trouble("the state of a step cannot be written", &error))?;
    let limits = archive::Limits::TREE;
    let kept = place.patiently(async || tree::store(&place.blobs, &folder, |_, _| true, limits).await).await?;
    let (exit_code, state_tree, warnings) = (Some(exit_code), Some(kept.tree), left.warnings.clone());
    Ok(Finished { exit_code, state_tree, warnings, ..Finished::default() })
}

/// Stores what a step that ended well leaves.
pub(super) async fn finished(place: &Place, live: &Live, left: Left, remains: &Finished) -> Result<Finished, Error> {
    if let Some(wrong) = left.wrong {
        return Err(wrong);
    }
    let (app, limits) = (live.folder.output().join("app"), archive::Limits::TREE);
    if !app.exists() || !is_directory(&app) {
        return Err(Error::invalid("/out/app cannot be taken: it is no directory").with("path", "/out/app"));
    }
    let kept = place.patiently(async || tree::store(&place.blobs, &app, |_, _| true, limits).await).await;
    let kept = kept.map_err(|error| match error.code {
        Code::Unavailable | Code::DeadlineExceeded => error,
        _ => Error { message: format!("/out/app cannot be taken: {}", error.message), ..error },
    })?;
    Ok(Finished { app_tree: Some(kept.tree), next: left.next, ..remains.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(found: &[(&str, &str)], written: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (at, files) in [("in/state", found), ("out/state", written)] {
            fs::create_dir_all(dir.path().join(at)).unwrap();
            for (name, content) in files {
                fs::write(dir.path().join(at).join(name), content).unwrap();
            }
        }
        dir
    }

    fn read(dir: &tempfile::TempDir) -> Left {
        state(&dir.path().join("in"), &dir.path().join("out"), "local:x").unwrap()
    }

    #[test]
    fn chn_10_chn_12_state_is_merged_and_next_taken_out() {
        let dir = folders(
            &[("next", "nil"), ("cmd", "[\"a\"]"), ("mykey", "1")],
            &[("cmd", " \n"), ("ports", "null"), ("next", " local:cp \n")],
        );
        let left = read(&dir);
        assert_eq!(left.next.as_deref(), Some("local:cp"));
        assert!(left.wrong.is_none());
        assert_eq!(left.state.files().collect::<Vec<_>>(), [("mykey", &b"1"[..])]);
        let beside = folders(&[("next", "nil")], &[]);
        fs::write(beside.path().join("out/next"), "local:b").unwrap();
        assert_eq!(read(&beside).next.as_deref(), Some("local:b"));
        fs::write(beside.path().join("out/state/next"), "nil").unwrap();
        assert_eq!(read(&beside).next, None, "/out/next counts only if it alone exists");
    }

    #[test]
    fn chn_32_a_link_in_the_place_of_the_state_leads_nowhere() {
        let dir = folders(&[("mykey", "1")], &[]);
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("shadow"), "hidden").unwrap();
        fs::remove_dir(dir.path().join("out/state")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("out/state")).unwrap();
        let left = read(&dir);
        assert!(left.wrong.unwrap().message.contains("/out/state"));
        assert_eq!(left.state.files().collect::<Vec<_>>(), [("mykey", &b"1"[..])]);
    }

    #[test]
    fn what_cannot_be_used_is_named_and_the_rest_of_the_state_is_kept() {
        let dir = folders(&[("ports", "[80]")], &[("ports", "[70000]"), ("mykey", "1")]);
        let left = read(&dir);
        let wrong = left.wrong.unwrap().message;
        assert!(wrong.contains("local:x") && wrong.contains("ports") && wrong.contains("70000"), "{wrong}");
        assert_eq!(left.state.get("ports"), Some(&b"[80]"[..]));
        assert_eq!(left.state.get("mykey"), Some(&b"1"[..]));
    }
}
