//! How an instance's container comes to be.

use std::{collections::BTreeMap, fs, path::PathBuf};

use aigis_proxy::{
    Code, Error, Name, Role,
    blob::{Digest, Life, Store},
    fault::{self, Point},
    identity::Purpose,
    secret::SecretName,
};
use aigis_registry::shared::Instance;
use tokio_util::io::ReaderStream;
use zeroize::Zeroizing;

use super::Parts;
use crate::{
    engine::{self, Bind, ContainerId, Engine, ImageConfig, Recipe, State, Volume},
    shelf::Shelf,
    steps::init,
};

/// What an app may use unless its push says otherwise.
const MEMORY: u64 = 2 * 1024 * 1024 * 1024;
const PIDS: u64 = 1_024;
/// How many ranges of addresses are tried for a network.
const TURNS: u16 = 64;
/// How many digits tell a volume of an app from its others.
const DIGITS: usize = 12;
/// How many bytes of an image's archive are on their way at once.
const BETWEEN: usize = 1024 * 1024;
/// How long the mesh may take to tell this node of the user who pushed.
const SEEN: std::time::Duration = std::time::Duration::from_secs(5);

/// The label of a network or volume of an app, and what stands on its container.
pub(super) fn labels(parts: &Parts, app: &Name) -> BTreeMap<String, String> {
    parts.mark.labels(format!("app/{app}"))
}

/// What the container of an instance is called.
pub(super) fn container_name(app: &Name, instance: &Instance) -> String {
    let id = &instance.id;
    let chain = id.chain.as_str();
    let suffix = chain.get(chain.len().saturating_sub(8)..).unwrap_or(chain);
    format!("aigis-{app}-{suffix}-{}-{}", id.step, id.epoch)
}

/// What the network of an app here is called.
pub(super) fn network(parts: &Parts, app: &Name) -> String {
    // With a dot between, which no name has: so that no two make the same.
    format!("aigis-{app}.{}", parts.mark.short())
}

/// Finds the container of an instance, if there is one. One that has ended is left as it is.
///
/// # Errors
///
/// As [`prepare`].
pub(super) async fn find(
    parts: &Parts,
    app: &Name,
    instance: &Instance,
    started: bool,
) -> Result<Option<ContainerId>, Error> {
    let Some(found) = parts.host.engine.find(&container_name(app, instance)).await? else { return Ok(None) };
    // Made, and the node ended before it was started.
    if found.state == State::Created && !started {
        start(parts, &found.id).await?;
    }
    Ok(Some(found.id))
}

/// Sees whether an instance may be started, and to its image; what that says of itself.
///
/// # Errors
///
/// `unavailable` for what may be otherwise in a while; all else is the app's own.
pub(super) async fn prepare(parts: &Parts, app: &Name, instance: &Instance) -> Result<ImageConfig, Error> {
    permit(parts, app, instance).await?;
    let image = bring(parts, instance).await?;
    Ok(parts.host.engine.image_config(&image).await?)
}

/// Makes the container of an instance, and starts it. What it needs of this host's memory is given back too, if anything.
///
/// # Errors
///
/// As [`prepare`].
pub(super) async fn make(
    parts: &Parts,
    app: &Name,
    instance: &Instance,
    image: ImageConfig,
) -> Result<(ContainerId, Option<Shelf>), Error> {
    let engine = &parts.host.engine;
    let (name, labels, network) = (container_name(app, instance), labels(parts, app), network(parts, app));
    make_network(engine, &network, &labels).await?;
    let limits = &instance.limits;
    let volumes = image.volumes.iter().map(|target| Volume { name: volume(&network, target), target: target.clone() });
    let mut recipe = Recipe {
        image: image.id.clone(),
        // As the entry point, with no arguments: so that nothing of the image's own stands before or behind it.
        entrypoint: (!instance.cmd.is_empty()).then(|| instance.cmd.clone()),
        workingdir: instance.workingdir.clone(),
        env: environment(parts, app, instance),
        labels,
        network: network.clone(),
        volumes: volumes.collect(),
        memory: Some(limits.memory_bytes.unwrap_or(MEMORY)),
        nano_cpus: limits.cpus.map(|cpus| (cpus * 1e9) as u64),
        pids: Some(limits.pids.map_or(PIDS, u64::from)),
        ..Recipe::default()
    };
    let secrets = secrets(parts, app)?;
    let shelf = match secrets.is_empty() {
        true => None,
        false => Some(hand_over(parts, &name, instance, image, &secrets, &mut recipe)?),
    };
    let id = engine.create(&name, &recipe).await?;
    fault::point(Point::AppMade);
    start(parts, &id).await?;
    Ok((id, shelf))
}

/// Makes the network of an app, unless there is one. An engine has addresses of its own for about thirty; beyond these, small
/// ranges are tried of which nobody else makes use.
async fn make_network(engine: &Engine, name: &str, labels: &BTreeMap<String, String>) -> Result<(), Error> {
    let says = |error: &engine::Error, words: &str| error.words().is_some_and(|said| said.contains(words));
    let spent = match engine.create_network(name, labels).await {
        Err(error) if says(&error, "address pool") => error,
        made => return made.map_err(Error::from),
    };
    let digest = Digest::of(name.as_bytes()).to_string();
    let first = digest.bytes().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte)));
    for turn in 0..TURNS {
        match engine.create_network_at(name, labels, Some(&addresses(first.wrapping_add(turn)))).await {
            Err(error) if says(&error, "overlap") => {}
            made => return made.map_err(Error::from),
        }
    }
    // Another app may end, or another place have room.
    Err(Error::unavailable(format!("the app gets no network: {spent}")))
}

/// Sixteen of 65,536 addresses.
fn addresses(number: u16) -> String {
    format!("10.231.{}.{}/28", (number >> 4) & 0xff, (number & 0xf) << 4)
}

/// Has the container find its secrets in memory.
fn hand_over(
    parts: &Parts,
    name: &str,
    instance: &Instance,
    image: ImageConfig,
    secrets: &BTreeMap<String, Zeroizing<String>>,
    recipe: &mut Recipe,
) -> Result<Shelf, Error> {
    let input = input(parts, name);
    fs::create_dir_all(&input).map_err(|error| Error::unavailable(format!("{}: {error}", input.display())))?;
    let image = match instance.cmd.is_empty() {
        true => image,
        false => ImageConfig { entrypoint: instance.cmd.clone(), cmd: Vec::new(), ..image },
    };
    recipe.binds.push(Bind { source: input.clone(), target: "/in".to_owned(), writable: false });
    init::wrap(recipe, &image, secrets, &input)
}

/// Where the first program of a container lies that has secrets.
pub(super) fn input(parts: &Parts, name: &str) -> PathBuf {
    parts.directory.join(format!("{name}.in"))
}

/// Starts a container; one that cannot be is removed again.
async fn start(parts: &Parts, id: &ContainerId) -> Result<(), Error> {
    let engine = &parts.host.engine;
    let Err(error) = engine.start(id).await else { return Ok(()) };
    if !error.is_engine_away() {
        let _ = engine.remove(id).await;
    }
    Err(match error {
        // That something of the app is not there: its program, most often.
        engine::Error::NotFound { words, .. } | engine::Error::Refused { words, .. } => {
            Error::precondition(format!("the app cannot be started: {words}"))
        }
        error => error.into(),
    })
}

/// The name of the volume of an app that stands there: the same for each of its instances here.
fn volume(network: &str, target: &str) -> String {
    let digest = Digest::of(target.as_bytes()).to_string();
    let digits: String = digest.chars().rev().take(DIGITS).collect();
    format!("{network}-{digits}")
}

/// The volumes that an app has here.
pub(super) async fn volumes(parts: &Parts, app: &Name) -> Result<Vec<String>, Error> {
    let prefix = format!("{}-", network(parts, app));
    let is_own = |name: &String| {
        name.strip_prefix(&prefix)
            .is_some_and(|rest| rest.len() == DIGITS && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    Ok(parts.host.engine.volumes().await?.into_iter().filter(is_own).collect())
}

/// Looks whether the person who pushed the app may have it run.
async fn permit(parts: &Parts, app: &Name, instance: &Instance) -> Result<(), Error> {
    let denied = |why: String| {
        let message = format!("the app {app} is not started: {why}");
        Error::new(Code::PermissionDenied, message).hint("push it again as an operator or admin of this mesh")
    };
    let wish = instance.mandate.unverified().ok_or_else(|| denied("nobody signed for it".to_owned()))?;
    let mut changed = parts.cache.changed();
    let known = tokio::time::timeout(SEEN, changed.wait_for(|snapshot| snapshot.user(&wish.by).is_some())).await;
    let user = match known {
        Ok(Ok(snapshot)) => snapshot.user(&wish.by).cloned(),
        _ => None,
    };
    let user = user.ok_or_else(|| denied(format!("there is no user {}", wish.by)))?;
    if user.revoked_at.is_some() {
        return Err(denied(format!("the user {} was revoked", wish.by)));
    }
    if !matches!(user.role, Role::Operator | Role::Admin) {
        return Err(denied(format!("the role {} does not permit {} to push", user.role, wish.by)));
    }
    let wish = instance.mandate.verify(Purpose::App, &user.public_key);
    let wish = wish.ok_or_else(|| denied(format!("the signature is not of {}", user.name)))?;
    if wish.app != *app || wish.mesh != parts.mesh {
        return Err(denied(format!("{} signed for another app", wish.by)));
    }
    Ok(())
}

/// Sees to it that the engine has the image, and says under which name: what is neither there nor in an archive is pulled.
async fn bring(parts: &Parts, instance: &Instance) -> Result<String, Error> {
    let (engine, image) = (&parts.host.engine, &instance.image);
    let is_name = !image.starts_with("sha256:");
    let here = if is_name { parts.supply.name(image) } else { image };
    if engine.has_image(here).await? {
        return Ok(here.to_owned());
    }
    let Some(blob) = instance.archive else {
        if is_name {
            let say = |status: &str| tracing::info!(%image, status, "the image of an app is brought");
            return parts.supply.bring(image, say).await;
        }
        let message = format!("the engine of {} has no image {}", parts.node, aigis_proxy::quoted(image));
        return Err(Error::precondition(message).hint("push the app again, so that the image is built"));
    };
    let (mut writer, reader) = tokio::io::duplex(BETWEEN);
    let store = Store::new(&parts.bus);
    let copying = async move {
        let copied = store.copy(Life::Kept, &blob, &mut writer).await;
        drop(writer);
        copied
    };
    let loading = engine.load(ReaderStream::new(reader));
    let (copied, loaded) = tokio::join!(copying, loading);
    // An archive that breaks off is the reason, and that it cannot be loaded its consequence.
    copied.and(loaded.map_err(Error::from))?;
    match engine.has_image(image).await? {
        true => Ok(image.clone()),
        false => Err(Error::internal(format!("the archive has no image {}", aigis_proxy::quoted(image)))),
    }
}

/// The variables of the app's container that are no secrets.
fn environment(parts: &Parts, app: &Name, instance: &Instance) -> Vec<String> {
    let mut env = vec![
        format!("AIGIS_APP={app}"),
        format!("AIGIS_NODE={}", parts.node),
        format!("AIGIS_CHAIN={}", instance.id.chain),
    ];
    env.extend(instance.ports.first().map(|port| format!("PORT={port}")));
    env
}

/// The secrets of an app, as this node may open them.
pub(super) fn secrets(parts: &Parts, app: &Name) -> Result<BTreeMap<String, Zeroizing<String>>, Error> {
    let Ok(name) = SecretName::parse(&format!("app/{app}")) else { return Ok(BTreeMap::new()) };
    let Some(value) = parts.vault.values([&name]).remove(&name) else { return Ok(BTreeMap::new()) };
    let wrong = |why: &str| {
        Error::precondition(format!("the secret {name} is no text of KEY=VALUE lines{why}"))
            .hint(format!("an admin sets it again: aish secrets set {name}"))
    };
    let text = std::str::from_utf8(value.bytes.as_slice()).map_err(|_| wrong(""))?;
    init::pairs(name.as_str(), text).map_err(|error| wrong(&format!(": {}", error.message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_addresses_do_not_overlap() {
        let ranges: std::collections::BTreeSet<String> = (0..4_096).map(addresses).collect();
        assert_eq!(ranges.len(), 4_096);
        assert_eq!((addresses(0), addresses(4_095)), ("10.231.0.0/28".to_owned(), "10.231.255.240/28".to_owned()));
        assert_eq!(addresses(u16::MAX), addresses(4_095));
    }
}
