//! What a node does for who registers and removes packages of a mesh: it judges them, writes the records, and puts it on
//! record who did so.

use std::{collections::HashMap, sync::Arc};

use aigis_proxy::{
    Bus, Effect, Error, NodeName,
    blob::{Blob, Life, Store},
    dispatch::Journal,
    quoted, rpc,
    subject::Caller,
    task,
};
use aigis_registry::{Shared, Timestamp, shared::Key};
use futures::FutureExt as _;
use serde_json::json;
use tarpc::{context::Context, server::Serve as _};

use super::{
    Parents, Place, Record, Registered, Registration,
    archive::wrong,
    catalogue,
    content::Content,
    is_tag,
    mesh::Mesh,
    records::{Records as _, Sizes},
    service::{PACKAGES, Packages},
    verify,
};
use crate::{Digest, clerk::Clerk, deployment::Deployment};

/// Most bytes of documents of a package that are held at once.
const MOST: u64 = 64 * 1024 * 1024;
/// Most bytes of a reference.
const LONGEST: usize = 1024;

/// Registers packages of the mesh for who may, until the returned value is dropped. All nodes share the work. `shared` are
/// the records as that node writes them.
///
/// # Errors
///
/// As [`Bus::subscribe`].
pub async fn serve(bus: &Bus, shared: Shared, node: NodeName, journal: Arc<dyn Journal>) -> Result<task::Owned, Error> {
    let room = Room { mesh: Mesh::new(shared.clone()), shared, blobs: Store::new(bus), node, journal: journal.clone() };
    rpc::serve_shared(bus, PACKAGES, journal, move |caller: Caller, context, request| {
        let desk = Desk { room: room.clone(), caller };
        async move { Box::pin(desk.serve().serve(context, request)).await }.boxed()
    })
    .await
}

#[derive(Clone)]
struct Room {
    mesh: Mesh,
    shared: Shared,
    blobs: Store,
    node: NodeName,
    journal: Arc<dyn Journal>,
}

/// A request, and whose it is.
#[derive(Clone)]
struct Desk {
    room: Room,
    caller: Caller,
}

impl Packages for Desk {
    async fn announce(self, _: Context, id: Digest) -> Result<bool, Error> {
        self.clerk().permit("packages.register", Effect::Write).await?;
        Ok(self.room.mesh.record(&id).await?.0.is_some())
    }

    async fn register(self, _: Context, registration: Box<Registration>, sizes: Sizes) -> Result<Registered, Error> {
        self.clerk().permit("packages.register", Effect::Write).await?;
        let about = json!({"package": registration.record.id, "project": registration.record.project});
        self.clerk()
            .audited("packages.register", Effect::Write, about, Box::pin(self.take(*registration, &sizes)))
            .await
    }

    async fn pushes(self, _: Context, id: Digest) -> Result<bool, Error> {
        self.clerk().permit("packages.push", Effect::Write).await?;
        Ok(self.room.mesh.record(&id).await?.0.is_some())
    }

    async fn pushed(self, _: Context, id: Digest, place: Place) -> Result<(), Error> {
        self.clerk().permit("packages.push", Effect::Write).await?;
        if place.reference.len() > LONGEST || place.reference.chars().any(char::is_control) {
            return Err(Error::invalid("that is no reference of a registry"));
        }
        let about = json!({"package": id, "place": place});
        let noted = catalogue::place(&self.room.mesh, &id, &place);
        self.clerk().audited("packages.push", Effect::Write, about, Box::pin(noted)).await
    }

    async fn remove(self, _: Context, id: Digest) -> Result<(), Error> {
        self.clerk().permit("packages.rm", Effect::Admin).await?;
        let about = json!({"package": id});
        self.clerk().audited("packages.rm", Effect::Admin, about, Box::pin(self.take_away(&id))).await
    }
}

impl Desk {
    fn clerk(&self) -> Clerk<'_> {
        Clerk { node: &self.room.node, journal: &*self.room.journal, caller: &self.caller }
    }

    /// Removes a package, unless a deployment may need it.
    async fn take_away(&self, id: &Digest) -> Result<(), Error> {
        let deployments = self.room.shared.list_whole::<Deployment>(Key::DEPLOYMENTS).await?;
        let needed = deployments.iter().find(|(_, version)| version.content.packages().contains(id));
        if let Some((_, version)) = needed {
            let project = &version.content.project;
            let message = format!("the package {id} is deployed, or is one of the last releases of {project}");
            return Err(Error::precondition(message).hint(format!("see: aish deployments history {project}")));
        }
        catalogue::remove(&self.room.mesh, id).await
    }

    /// Registers a package as its content has it, and as it is known who asked and when.
    async fn take(&self, mut registration: Registration, sizes: &Sizes) -> Result<Registered, Error> {
        let by = self.caller.name.to_string();
        let Registration { record, build, tags, parents, .. } = &mut registration;
        if let Some(tag) = tags.iter().find(|tag| !is_tag(tag)) {
            return Err(wrong(&format!("\"{}\" is no tag", quoted(tag))));
        }
        if let Some(node) = build.as_ref().and_then(|build| build.node.as_ref()).or(record.node.as_ref()) {
            NodeName::parse(node)?;
        }
        // What comes from elsewhere stays as it was made there.
        if *parents != Parents::Recorded {
            record.created_by.clone_from(&by);
            record.created_at = Timestamp::now();
        }
        if let Some(build) = build {
            build.id = format!("bld_{}", uuid::Uuid::now_v7());
            build.by = by;
            // Nobody can say that of himself.
            build.measured = false;
            build.verify_of = None;
            let is_of = (build.package, build.inputs) == (record.id, record.inputs);
            if !is_of || build.outputs != record.by_image(|image| image.output) {
                return Err(wrong("its build is of another package"));
            }
        }
        if self.room.mesh.record(&record.id).await?.0.is_none() {
            self.judge(record, sizes).await?;
        }
        catalogue::register(&self.room.mesh, registration, sizes).await
    }

    /// Whether the mesh has all that the package consists of, and whether that is what its record says.
    async fn judge(&self, record: &Record, sizes: &Sizes) -> Result<(), Error> {
        let layers = record.images.iter().flat_map(|image| &image.layers).map(|layer| layer.digest);
        let large: std::collections::HashSet<Digest> = layers.chain(record.sources()).collect();
        let documents: Vec<Blob> = sizes
            .iter()
            .filter(|(digest, _)| !large.contains(digest))
            .map(|(digest, size)| Blob { digest: *digest, size: *size })
            .collect();
        if documents.iter().map(|blob| blob.size).fold(0, u64::saturating_add) > MOST {
            return Err(wrong("its documents are too large"));
        }
        let mut held = Held { documents: HashMap::new(), sizes };
        for blob in documents {
            held.documents.insert(blob.digest, self.room.blobs.read(Life::Kept, &blob).await?);
        }
        for (digest, size) in sizes.iter().filter(|(digest, _)| large.contains(digest)) {
            // That it is there, whole and of that size, was seen when it was stored.
            self.room.blobs.open(Life::Kept, &Blob { digest: *digest, size: *size }).await?;
        }
        let named = verify::verify(&held, record)?;
        match sizes.keys().find(|digest| !named.contains(digest)) {
            Some(other) => Err(wrong(&format!("the content {other} is no part of the package"))),
            None => Ok(()),
        }
    }
}

/// The documents of a package, and the sizes of all that it consists of.
struct Held<'a> {
    documents: HashMap<Digest, Vec<u8>>,
    sizes: &'a Sizes,
}

impl Content for Held<'_> {
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        self.documents.get(digest).cloned().ok_or_else(|| wrong(&format!("the document {digest} is missing")))
    }

    fn size(&self, digest: &Digest) -> Result<u64, Error> {
        self.sizes.get(digest).copied().ok_or_else(|| wrong(&format!("the content {digest} is missing")))
    }
}
