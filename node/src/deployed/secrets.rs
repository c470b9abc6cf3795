//! The secrets of a project as its containers get them: files in this host's memory that only the image's user reads, and
//! variables that our first program takes from such a file. So the engine shows neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use aigis_proxy::{Error, Name, secret::SecretName, services::deployments::Replica};
use zeroize::Zeroizing;

use super::{
    Deployed,
    labels::{self, Given},
};
use crate::{
    engine::{Bind, ImageConfig, Recipe},
    shelf,
    steps::init,
};

/// Where a container finds its files.
const TARGET: &str = "/run/secrets";
/// Of what is laid out for a container, the files.
const FILES: &str = "files";

fn trouble(error: &io::Error) -> Error {
    Error::unavailable(format!("secrets cannot be handed over: {error}"))
        .hint("look at this host's directories in memory, and at the disk of the node's data directory")
}

fn no_memory(error: &shelf::Error) -> Error {
    Error::unavailable(aigis_proxy::with_causes(error))
}

/// The secret of a key of a project.
fn secret(project: &Name, key: &str) -> Result<SecretName, Error> {
    let name = SecretName::parse(&format!("project/{project}/{key}"));
    name.ok().filter(|_| !key.contains('/')).ok_or_else(|| {
        Error::invalid(format!("\"{}\" is no key of a project's secret", aigis_proxy::quoted(key))).sent(false)
    })
}

/// Owner and group of an image's user, where they are numbers.
fn owner(user: &str) -> Option<(u32, u32)> {
    match user.split_once(':') {
        Some((user, group)) => Some((user.parse().ok()?, group.parse().ok()?)),
        None if user.is_empty() => Some((0, 0)),
        None => user.parse().ok().map(|user| (user, 0)),
    }
}

impl Deployed {
    /// Lays out what a container is given, and has it find that.
    pub(super) async fn give(
        &self,
        replica: &Replica,
        image: &ImageConfig,
        recipe: &mut Recipe,
    ) -> Result<Option<Given>, Error> {
        let (files, env) = (replica.secret_files.clone(), replica.secret_env.clone());
        if files.is_empty() && env.is_empty() {
            return Ok(None);
        }
        let directory = format!("{}-{}", self.parts.mark.short(), uuid::Uuid::now_v7().simple());
        let given = Given { directory, files, env };
        let laid = self.lay_out(&replica.project, &given, image, recipe).await;
        if laid.is_err() {
            self.forget(Some(&given));
        }
        laid.map(|()| Some(given))
    }

    /// Lays out what a container was given; the recipe finds it, if it is to be made yet.
    pub(super) async fn lay_out(
        &self,
        project: &Name,
        given: &Given,
        image: &ImageConfig,
        recipe: &mut Recipe,
    ) -> Result<(), Error> {
        let (memory, input) = self.places(given)?;
        let make = |path: &Path, mode| fs::DirBuilder::new().mode(mode).recursive(true).create(path);
        let files = memory.join(FILES);
        // Those above are for this user alone, so that the modes below are for the container's.
        make(&memory, 0o700).and_then(|()| make(&files, 0o755)).map_err(|error| trouble(&error))?;
        let values = self.values(project, &given.files).await?;
        for (key, value) in &values {
            shelf::put(&files, key, value).map_err(|error| no_memory(&error))?;
            hand_over(&files.join(key), owner(&image.user)).map_err(|error| trouble(&error))?;
        }
        if !values.is_empty() {
            recipe.binds.push(Bind { source: files, target: TARGET.to_owned(), writable: false });
        }
        if given.env.is_empty() {
            return Ok(());
        }
        let mut variables = BTreeMap::new();
        for (key, value) in self.values(project, &given.env).await? {
            let wrong = |what: &str| Error::precondition(format!("the secret project/{project}/{key} {what}"));
            let is_name = key
                .bytes()
                .enumerate()
                .all(|(at, byte)| byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()));
            let text = String::from_utf8(value.to_vec()).ok().filter(|text| is_name && !text.contains('\0'));
            let text = text.ok_or_else(|| wrong("cannot be a variable").hint("give it as a file"))?;
            variables.insert(key.clone(), Zeroizing::new(text));
        }
        make(&input, 0o755).map_err(|error| trouble(&error))?;
        recipe.binds.push(Bind { source: input.clone(), target: "/in".to_owned(), writable: false });
        init::wrap_with(recipe, image, &variables, &input, &memory)
    }

    /// Where in memory, and where on the disk, what a container was given is.
    fn places(&self, given: &Given) -> Result<(PathBuf, PathBuf), Error> {
        let memory = shelf::lasting().map_err(|error| no_memory(&error))?;
        Ok((memory.join(&given.directory), self.parts.directory.join(&given.directory)))
    }

    /// Whether what a container was given is still there.
    pub(super) fn is_laid_out(&self, given: &Given) -> bool {
        self.places(given).is_ok_and(|(memory, _)| memory.exists())
    }

    /// The values of those keys of a project, as this node may open them.
    async fn values(
        &self,
        project: &Name,
        keys: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, Error> {
        let mut names = BTreeMap::new();
        for key in keys {
            names.insert(secret(project, key)?, key);
        }
        self.parts.vault.has(&names.keys().cloned().collect()).await?;
        let values = self.parts.vault.values(names.keys());
        let known = |(name, value): (&SecretName, &crate::secrets::Value)| {
            Some(((*names.get(name)?).clone(), Zeroizing::new(value.bytes.to_vec())))
        };
        Ok(values.iter().filter_map(known).collect())
    }

    /// Takes away what a container was given that is gone.
    pub(super) fn forget_secrets(&self, of: &BTreeMap<String, String>) {
        self.forget(labels::given(of).as_ref());
    }

    /// Takes away what was laid out.
    pub(super) fn forget(&self, given: Option<&Given>) {
        let Some(given) = given.filter(|given| !given.directory.contains('/')) else { return };
        let Ok((memory, input)) = self.places(given) else { return };
        for path in [memory, input] {
            // What stays is found again by the next sweep.
            let _ = fs::remove_dir_all(path);
        }
    }

    /// Takes away what was laid out for containers that are not among these, and not just now.
    pub(super) fn sweep_secrets(&self, known: &BTreeSet<String>, older_than: std::time::Duration) {
        let (Ok(memory), own) = (shelf::lasting(), format!("{}-", self.parts.mark.short())) else { return };
        for root in [memory, self.parts.directory.clone()] {
            for entry in fs::read_dir(root).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
                if name.starts_with(&own) && !known.contains(&name) && age.is_some_and(|age| age > older_than) {
                    let _ = fs::remove_dir_all(entry.path());
                }
            }
        }
    }
}

/// Has a container's user, and nobody else in it, read a file. Where the user is no number, or this process may not give files
/// away, all in the container may: no other does.
fn hand_over(path: &Path, to: Option<(u32, u32)>) -> io::Result<()> {
    let mode = match to {
        Some((user, group)) if chown(path, Some(user), Some(group)).is_ok() => 0o400,
        _ => 0o444,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_60_the_key_of_a_secret_is_one_part_of_its_name() {
        let project = Name::parse("shop").unwrap();
        assert_eq!(secret(&project, "API_KEY").unwrap().as_str(), "project/shop/API_KEY");
        for bad in ["a/b", "..", "", "../x", "a b"] {
            assert!(secret(&project, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pkg_60_files_belong_to_the_user_of_the_image() {
        let cases = [("10001:10002", Some((10001, 10002))), ("5", Some((5, 0))), ("", Some((0, 0))), ("app", None)];
        for (user, is) in cases {
            assert_eq!(owner(user), is, "{user}");
        }
    }
}
