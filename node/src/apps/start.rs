//! How an instance's container comes to be.

use std::{collections::BTreeMap, fs, path::PathBuf};

use aigis_proxy::{
    Code, Error, Name,
    blob::{Digest, Store},
    fault::{self, Point},
    identity::Purpose,
    secret::SecretName,
};
use aigis_registry::shared::Instance;
use zeroize::Zeroizing;

use super::Parts;
use crate::{
    engine::{self, Bind, ContainerId, ImageConfig, Recipe, State, Volume},
    loading,
    mandate::{self, Asked},
    networks,
    shelf::Shelf,
    steps::init,
};

/// What an app may use unless its push says otherwise.
const MEMORY: u64 = 2 * 1024 * 1024 * 1024;
const PIDS: u64 = 1_024;
/// How many digits tell a volume of an app from its others.
const DIGITS: usize = 12;

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
    networks::make(engine, &network, &labels).await?;
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
    let asked = Asked { mesh: &parts.mesh, purpose: Purpose::App, name: app, mandate: &instance.mandate };
    mandate::permit(&parts.cache, asked).await.map(drop).map_err(|why| {
        let message = format!("the app {app} is not started: {why}");
        Error::new(Code::PermissionDenied, message).hint("push it again as an operator or admin of this mesh")
    })
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
    loading::load(engine, &Store::new(&parts.bus), &blob).await?;
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
