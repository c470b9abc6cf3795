//! Images that Dockerfiles make: the engine builds one under a name of its own, it is stored as a blob, and gone again.

use std::time::Duration;

use aigis_proxy::{
    Code, Error,
    blob::{Blob, Life},
    services::builds::{DOCKERFILE, ImageBuild},
};
use aigis_registry::archive::{Sink as _, Writer};
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::{Builder, live::Live};
use crate::{engine::BuildRequest, steps::build};

/// How its image is called first.
const IMAGE: &str = "aigis-work:";
/// How long a build may take.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// How many bytes wait between the mesh's blobs and the engine.
const BETWEEN: usize = 1024 * 1024;
/// What ends an archive, in bytes.
const END: usize = 1024;

impl Builder {
    /// Builds an image, and gives the archive in which the engine writes it.
    pub(super) async fn make(&self, live: &Live, id: &str, wanted: &ImageBuild) -> Result<Blob, Error> {
        let name = format!("{IMAGE}{id}");
        let work = Box::pin(timeout(LONGEST, self.made(live, &name, wanted)));
        let done = tokio::select! {
            biased;
            () = live.is_to_end() => Err(Error::new(Code::Cancelled, "the build was ended")),
            done = work => done.unwrap_or_else(|_| Err(too_long())),
        };
        if let Err(error) = self.engine.remove_image(&name).await {
            tracing::warn!(%error, name, "the image of a build stays");
        }
        done
    }

    async fn made(&self, live: &Live, name: &str, wanted: &ImageBuild) -> Result<Blob, Error> {
        let text =
            build::prepared(&self.engine, &self.supply, live, wanted.dockerfile.clone(), Some(&wanted.bases)).await?;
        let request =
            BuildRequest { dockerfile: DOCKERFILE.to_owned(), tag: Some(name.to_owned()), fresh: wanted.fresh };
        let first = entry(&text).map_err(|error| Error::internal(format!("a Dockerfile cannot be packed: {error}")))?;
        let (writer, reader) = tokio::io::duplex(BETWEEN);
        let packing = async move {
            // Gone with this, whatever becomes of it: the engine does not wait for the rest of what broke off.
            let mut writer = writer;
            let failed = |error| Error::internal(format!("the context cannot be sent: {error}"));
            writer.write_all(&first).await.map_err(failed)?;
            self.blobs.copy(Life::Kept, &wanted.context, &mut writer).await?;
            writer.shutdown().await.map_err(failed)
        };
        let image = build::send(&self.engine, live, packing, reader, &request, &text).await?;
        self.export(image.as_deref().unwrap_or(name)).await
    }
}

/// The beginning of an archive: the Dockerfile, and no end.
fn entry(text: &str) -> std::io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    let size = text.len() as u64;
    writer.file(DOCKERFILE, false, size)?;
    writer.content(text.as_bytes())?;
    writer.end_file(size)?;
    let mut bytes = writer.end()?;
    bytes.truncate(bytes.len().saturating_sub(END));
    Ok(bytes)
}

fn too_long() -> Error {
    let minutes = LONGEST.as_secs() / 60;
    Error::new(Code::DeadlineExceeded, format!("the build took longer than {minutes} minutes"))
        .hint("look at what it waits for: aish dockerfile --lint")
}

#[cfg(test)]
mod tests {
    use aigis_registry::archive::Members;

    use super::*;

    #[test]
    fn pkg_45_the_dockerfile_stands_before_the_context_in_one_archive() {
        let mut tree = Writer::new(Vec::new());
        tree.file("a.txt", false, 0).unwrap();
        let mut bytes = entry("FROM scratch\n").unwrap();
        bytes.extend(tree.end().unwrap());
        let (mut members, mut found) = (Members::new(&bytes[..]), Vec::new());
        while let Some(member) = members.next().unwrap() {
            found.push((member.path, member.size));
        }
        assert_eq!(found, [(DOCKERFILE.to_owned(), 13), ("a.txt".to_owned(), 0)]);
    }
}
