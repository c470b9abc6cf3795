//! Packages of a distribution: their versions, which the lock keeps, and what their installation leaves.

use std::collections::{BTreeMap, BTreeSet};

use aigis_proxy::{Code, Error, Name};

use super::{
    Packer,
    application::{At, Part},
    ground::Ground,
};
use crate::{
    layer::{
        Kind, Layer,
        entries::{Entries, Form},
    },
    manifest::Application,
    phase::{self, Phase},
};

/// Where the script lists what it takes, below the root.
const TAKEN: &str = "aigis-packages";
/// Takes packages. Its words: `ask` or `install`, preferences of apt that name exact versions, and what is wanted. What it
/// lists are lines of `have NAME (VERSION)` and `Inst NAME [OLD] (VERSION …`.
const SCRIPT: &str = r#"set -eu
what=$1 preferences=/run/aigis-preferences
printf '%s' "$2" > "$preferences"
shift 2
apt-get update -q
for name in "$@"; do
    dpkg-query -W -f 'have ${Package} (${Version})\n' "${name%%=*}" 2>/dev/null || true
done > /aigis-packages
set -- -q -y --no-install-recommends -o Dir::Etc::Preferences="$preferences" install "$@"
apt-get -s "$@" > /run/aigis-simulated || { cat /run/aigis-simulated; exit 100; }
grep '^Inst ' /run/aigis-simulated >> /aigis-packages || true
test "$what" = ask || apt-get "$@"
"#;

/// What packages of a distribution are in an image.
pub(super) struct Packages {
    pub(super) layer: Layer,
    /// Their versions, by name.
    pub(super) versions: BTreeMap<String, String>,
}

impl<'a> Packer<'a> {
    /// In what the phases of an application run, with the packages that they need.
    pub(super) fn phases_ground(
        &mut self,
        name: &'a Name,
        application: &'a Application,
        at: At<'a>,
        part: &mut Part,
    ) -> Result<Ground, Error> {
        let mut ground = self.ground(name, application, at.container, at.platform)?;
        part.bases.insert(ground.reference.clone(), ground.image);
        let mut locked = at.name.to_string();
        if application.build_image.is_some() {
            // Its versions are those of another image than the container's.
            locked = format!("{locked}/{name}");
        } else if let Some(Packages { layer, .. }) = self.packages(at)? {
            ground.lay(&Entries::read(self.blobs, &layer.digest)?);
        }
        let wanted: BTreeSet<&str> = application.system_packages.build.iter().map(String::as_str).collect();
        self.hold(&mut ground, at.platform)?;
        if !wanted.is_empty() {
            let (left, taken) = self.take(&ground, &wanted, &locked, at)?;
            ground.lay(&left);
            part.packages.extend(taken);
            self.hold(&mut ground, at.platform)?;
        }
        Ok(ground)
    }

    /// The layer of the packages that the applications of a container need, with their versions.
    pub(super) fn packages(&mut self, at: At<'a>) -> Result<Option<Packages>, Error> {
        let manifest = &self.request.document.manifest;
        let applications = at.container.applications.iter().filter_map(|name| manifest.applications.get(name));
        let wanted: BTreeSet<&str> =
            applications.flat_map(|said| &said.system_packages.run).map(String::as_str).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        let mut ground = self.of_container(at.container, at.platform)?.ok_or_else(|| {
            let message = format!("the container \"{}\" stands on scratch, which has no packages", at.name);
            Error::invalid(message).hint("give it a base of Debian")
        })?;
        self.hold(&mut ground, at.platform)?;
        let (left, taken) = self.take(&ground, &wanted, at.name.as_str(), at)?;
        let (digest, size_bytes) = left.write(self.blobs, Form::System, at.epoch)?;
        let layer = Layer { digest, size_bytes, kind: Kind::Packages, application: None };
        Ok(Some(Packages { layer, versions: taken }))
    }

    /// Installs packages over a ground, in the versions that the lock keeps under that name; gives what that changed, and the
    /// versions.
    fn take(
        &mut self,
        ground: &Ground,
        wanted: &BTreeSet<&str>,
        locked: &str,
        at: At<'a>,
    ) -> Result<(Entries, BTreeMap<String, String>), Error> {
        let known = self.lock.system_packages.get(locked).and_then(|of| of.get(&at.platform));
        let mut known = known.cloned().unwrap_or_default();
        let lacking: Vec<&str> = wanted.iter().copied().filter(|name| !known.contains_key(*name)).collect();
        if !lacking.is_empty() {
            if self.request.locked {
                let message = format!("aigis.lock does not know the version of {} for {}", lacking[0], at.platform);
                return Err(Error::precondition(message).hint("build once without --locked, and keep the file"));
            }
            let asked = self.installation(ground, "ask", wanted, &known, locked, at)?;
            let builder = self.request.builder.ok_or_else(|| Error::internal("phases run without an engine"))?;
            builder.say(&format!("=> {}", asked.name));
            // What is offered now is never known from before.
            let left = builder.run(self.blobs, &asked).map_err(|error| refused(error, &asked.name, locked))?;
            known.extend(self.taken(&Entries::read(self.blobs, &left)?)?);
            if let Some(name) = wanted.iter().find(|name| !known.contains_key(**name)) {
                let message = format!("{name} is no package by itself: others stand for it");
                return Err(Error::precondition(message).hint("name one of those in system_packages"));
            }
            let kept = self.lock.system_packages.entry(locked.to_owned()).or_default();
            kept.insert(at.platform, known.clone());
        }
        let phase = self.installation(ground, "install", wanted, &known, locked, at)?;
        let left = self.left(&phase).map_err(|error| refused(error, &phase.name, locked))?;
        let taken = self.taken(&left)?;
        if let Some((name, version)) = taken.iter().find(|(name, version)| known.get(*name) != Some(version)) {
            let message = match known.get(name) {
                Some(known) => format!("aigis.lock says {name} {known}, and {version} is what can be had"),
                None => format!("{name} {version} is needed by now, and aigis.lock does not know it"),
            };
            return Err(Error::precondition(message).hint("take what is offered now: --update"));
        }
        let left = left.without(TAKEN).since(&ground.below, Form::System, &ground.held, self.blobs)?;
        Ok((left, taken))
    }

    fn installation(
        &self,
        ground: &Ground,
        what: &str,
        wanted: &BTreeSet<&str>,
        known: &BTreeMap<String, String>,
        locked: &str,
        at: At<'_>,
    ) -> Result<Phase, Error> {
        let pin = |(name, version): (&String, &String)| {
            format!("Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n")
        };
        let preferences: String = known.iter().map(pin).collect();
        let words = ["/bin/sh", "-c", SCRIPT, "packages", what, &preferences].map(str::to_owned);
        let wanted = wanted.iter().map(|name| match known.get(*name) {
            Some(version) => format!("{name}={version}"),
            None => (*name).to_owned(),
        });
        let mut env = ground.env.clone();
        env.insert("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned());
        let inputs = match ground.below.is_empty("") {
            true => Vec::new(),
            false => vec![ground.below.there().write(self.blobs, Form::System, at.epoch)?.0],
        };
        Ok(Phase {
            name: format!("{} packages of {locked}", if what == "ask" { "versions of" } else { "install" }),
            image: ground.image,
            directory: "/".to_owned(),
            commands: vec![words.into_iter().chain(wanted).collect()],
            env: phase::environment(&env, at.epoch),
            network: true,
            inputs,
            removed: ground.gone.clone(),
            secrets: Vec::new(),
            platform: at.platform,
            fresh: self.request.fresh,
            project: None,
        })
    }

    /// What the script listed: names and versions.
    fn taken(&self, left: &Entries) -> Result<BTreeMap<String, String>, Error> {
        let text = left.text(TAKEN, self.blobs)?;
        let lost = || Error::new(Code::DataLoss, "what was installed is not told").hint("build it again");
        text.ok_or_else(lost).map(|text| text.lines().filter_map(version).collect())
    }
}

/// The name and the version in a line of the script.
fn version(line: &str) -> Option<(String, String)> {
    let name = line.split(' ').nth(1)?.split(':').next()?;
    let version = line.split_once('(')?.1.split([' ', ')']).next()?;
    Some((name.to_owned(), version.to_owned()))
}

fn refused(error: Error, name: &str, locked: &str) -> Error {
    if error.code != Code::FailedPrecondition || error.hint.is_some() {
        return error;
    }
    // The script is nobody's to read; what apt-get said is.
    let said = error.message.split_once("` failed ").map_or(error.message.as_str(), |(_, said)| said);
    let message = format!("the packages of \"{locked}\" cannot be had ({name}): apt-get failed {said}");
    Error { message, data: None, ..error }.hint(
        "they come from a base of Debian and its mirrors; of versions that are no longer offered, take what is: --update",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_of_what_apt_says() {
        let lines = [
            ("have libc6 (2.36-9+deb12u10)", Some(("libc6", "2.36-9+deb12u10"))),
            ("Inst jq (1.6-2.1 Debian:12.14/oldstable [amd64])", Some(("jq", "1.6-2.1"))),
            ("Inst libssl3:amd64 [3.0.1] (1:3.0.17-1 Debian [amd64]) []", Some(("libssl3", "1:3.0.17-1"))),
            ("Inst", None),
        ];
        for (line, found) in lines {
            assert_eq!(version(line), found.map(|(name, version)| (name.to_owned(), version.to_owned())), "{line}");
        }
    }
}
