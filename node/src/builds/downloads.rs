//! What package managers download in phases. It lies in volumes of the engine, outside every output: one for each person and
//! project, so that nobody finds there what another's commands have put.
//!
//! All phases have the same directories and variables, whether a volume is behind them or not: what they leave does not tell.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use aigis_proxy::{Error, Name, UserName, blob::Digest};
use aigis_registry::archive::{Sink as _, Writer};
use tokio::{sync::Notify, time::sleep};

use crate::{
    engine::{Engine, Volume},
    owned::Mark,
};

/// Where a volume is. Nothing below `/run` is an output.
const PLACE: &str = "/run/aigis/downloads";
/// Where the directories of package managers are: of each container alone, but for what links into the volume.
const CACHES: &str = "/run/aigis/caches";
/// Whose these volumes are.
const OWNER: &str = "downloads";
/// How they are called first.
const PREFIX: &str = "aigis-downloads-";
/// How many digits follow.
const DIGITS: usize = 32;
/// Most bytes that are kept of them on a node; what was not used for longest goes first.
const MOST: u64 = 4 * 1024 * 1024 * 1024;
/// Most volumes that are kept: nothing may be in them, and an engine has them all the same.
const COUNT: usize = 100;
/// How long one is kept that nobody uses.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long between two looks at them: an engine reads all that they hold.
const PAUSE: Duration = Duration::from_secs(30);

/// A package manager whose directory of downloads is no output in any case, wherever it is.
struct Manager {
    name: &'static str,
    /// By which it is told of its directory.
    variable: &'static str,
    /// What of that directory was downloaded, and not made of downloads or to be run.
    downloads: &'static [&'static str],
}

const MANAGERS: [Manager; 2] = [
    Manager { name: "npm", variable: "npm_config_cache", downloads: &["_cacache"] },
    Manager { name: "pip", variable: "PIP_CACHE_DIR", downloads: &["http", "http-v2"] },
];

/// The variables of all phases.
pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
    MANAGERS.iter().map(|manager| (manager.variable.to_owned(), format!("{CACHES}/{}", manager.name)))
}

/// Writes the directories of all phases into an archive.
pub(super) fn write(archive: &mut Writer<Vec<u8>>) -> io::Result<()> {
    let (place, caches) = (PLACE.trim_start_matches('/'), CACHES.trim_start_matches('/'));
    for Manager { name, downloads, .. } in &MANAGERS {
        archive.directory(&format!("{caches}/{name}"))?;
        for directory in *downloads {
            archive.directory(&format!("{place}/{name}/{directory}"))?;
            archive.link(&format!("{caches}/{name}/{directory}"), &format!("{PLACE}/{name}/{directory}"))?;
        }
    }
    Ok(())
}

/// The volumes of this node, and when each was used last.
#[derive(Debug)]
pub(super) struct Volumes {
    engine: Engine,
    mark: Mark,
    /// A file for each, as old as its last use.
    directory: PathBuf,
    /// Tells of each use.
    uses: Notify,
}

impl Volumes {
    pub(super) fn new(engine: Engine, mark: Mark, directory: PathBuf) -> Self {
        Self { engine, mark, directory, uses: Notify::new() }
    }

    /// A volume as a phase sees it; it is made if there is none.
    pub(super) async fn ready(&self, name: &str) -> Result<Volume, Error> {
        self.engine.create_volume(name, &self.mark.labels(OWNER.to_owned())).await?;
        self.used(name);
        Ok(Volume { name: name.to_owned(), target: PLACE.to_owned() })
    }

    /// What the volume of a person's builds of a project is called.
    pub(super) fn name(&self, by: &UserName, project: &Name) -> String {
        // None of the three has a line break in it.
        let whose = Digest::of(format!("{}\n{by}\n{project}", self.mark.short()).as_bytes());
        format!("{PREFIX}{}", whose.hex().get(..DIGITS).unwrap_or_default())
    }

    /// Notes that a volume was used now; where that cannot be noted it goes the sooner.
    pub(super) fn used(&self, name: &str) {
        self.uses.notify_one();
        let noted = fs::create_dir_all(&self.directory)
            .and_then(|()| File::create(self.directory.join(name)))
            .and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = noted {
            tracing::debug!(%error, name, "the use of a volume is not noted");
        }
    }

    /// Sees to it that there are not too many, for as long as it is polled.
    pub(super) async fn keep_bounded(&self) {
        loop {
            self.uses.notified().await;
            if let Err(error) = self.bound().await {
                tracing::debug!(%error, "downloads of phases are looked at again later");
                self.uses.notify_one();
            }
            sleep(PAUSE).await;
        }
    }

    /// Removes those that were not used for longest, until the rest is small enough.
    async fn bound(&self) -> Result<(), Error> {
        let sizes = self.engine.volume_sizes(&self.mark.labels(OWNER.to_owned())).await?;
        let used = |name: &str| fs::metadata(self.directory.join(name)).and_then(|about| about.modified()).ok();
        let known = sizes.into_iter().map(|(name, size)| (used(&name), name, size)).collect();
        for name in surplus(known, SystemTime::now(), MOST) {
            match self.engine.remove_volume(&name).await {
                // What a phase uses now is looked at after the next one.
                Err(crate::engine::Error::Conflict { .. }) => continue,
                removed => removed?,
            }
            tracing::info!(name, "downloads of phases were removed: there are too many, or nobody used them");
            // A note of what is gone tells nothing.
            let _ = fs::remove_file(self.directory.join(&name));
        }
        Ok(())
    }
}

/// The volumes that are too much, or were not used for too long.
fn surplus(mut known: Vec<(Option<SystemTime>, String, u64)>, now: SystemTime, most: u64) -> Vec<String> {
    known.sort_by(|a, b| b.cmp(a));
    let mut total = 0_u64;
    let too_much = known.into_iter().enumerate().filter(|(place, (used, _, size))| {
        total = total.saturating_add(*size);
        let unused = used.and_then(|used| now.duration_since(used).ok());
        total > most || *place >= COUNT || unused.is_some_and(|unused| unused > UNUSED)
    });
    too_much.map(|(_, (_, name, _))| name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aigis_registry::archive::{Members, What};

    use super::*;

    #[test]
    fn pkg_44_of_downloads_those_that_were_not_used_for_longest_are_too_much() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let known = || {
            [(at(3), "new", 5), (None, "never", 1), (at(1), "old", 4), (at(2), "middle", 3)]
                .map(|(used, name, size)| (used, name.to_owned(), size))
                .to_vec()
        };
        let surplus = |most| super::surplus(known(), SystemTime::UNIX_EPOCH + UNUSED, most);
        assert_eq!(surplus(13), [""; 0]);
        assert_eq!(surplus(12), ["never"]);
        assert_eq!(surplus(8), ["old", "never"]);
        assert_eq!(surplus(4), ["new", "middle", "old", "never"], "one alone may be too much");
    }

    #[test]
    fn pkg_44_empty_volumes_are_bounded_too_and_those_go_that_nobody_used_for_a_month() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let known: Vec<_> = (0..103).map(|used| (Some(at(used)), format!("v{used}"), 0)).collect();
        assert_eq!(surplus(known.clone(), at(200), MOST), ["v2", "v1", "v0"]);
        let recent = |used: &(Option<SystemTime>, String, u64)| used.0 >= Some(at(50));
        let known: Vec<_> = known.into_iter().filter(recent).collect();
        assert_eq!(surplus(known, at(52) + UNUSED, MOST), ["v51", "v50"]);
    }

    #[test]
    fn pkg_44_managers_have_directories_of_their_own_in_which_only_downloads_lead_out() {
        let mut archive = Writer::new(Vec::new());
        write(&mut archive).unwrap();
        let archive = archive.end().unwrap();
        let (mut members, mut links, mut directories) = (Members::new(&archive[..]), BTreeMap::new(), Vec::new());
        while let Some(member) = members.next().unwrap() {
            match member.what {
                What::Link(target) => drop(links.insert(member.path, target)),
                _ => directories.push(format!("/{}", member.path)),
            }
        }
        assert_eq!(links["run/aigis/caches/pip/http"], "/run/aigis/downloads/pip/http");
        assert!(!links.keys().any(|path| path.contains("wheels") || path.contains("_npx")));
        assert!(links.values().all(|target| directories.contains(target)), "{links:?} {directories:?}");
        assert!(variables().all(|(_, place)| directories.contains(&place)));
    }
}
