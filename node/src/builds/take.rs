//! What a phase left: of all files of its container, those that differ from its image.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
};

use aigis_proxy::{
    Error,
    blob::{Blob, Life},
    services::builds::Phase,
};
use aigis_registry::archive::{Attributes, Member, Members, Sink as _, What, Writer};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{
    Builder,
    search::{Found, Values},
};
use crate::engine::{Change, ContainerId};

/// How many bytes wait between who picks and who stores.
const BETWEEN: usize = 1024 * 1024;
const BUFFER: usize = 128 * 1024;
/// What stands before the name of a path that is gone.
const GONE: &str = ".wh.";

/// What is taken of a container.
#[derive(Debug, Default)]
struct Wanted {
    there: BTreeSet<String>,
    gone: Vec<String>,
}

impl Builder {
    /// What of a container is to be taken.
    async fn wanted(&self, container: &ContainerId, phase: &Phase) -> Result<Wanted, Error> {
        let mut wanted = Wanted::default();
        for changed in self.engine.changes(container).await? {
            let path = changed.path.trim_matches('/');
            let is_left_out = phase.left_out.iter().any(|left_out| is_within(path, left_out));
            match changed.change {
                _ if path.is_empty() || is_left_out => {}
                Change::Deleted => wanted.gone.push(path.to_owned()),
                Change::Added | Change::Modified => drop(wanted.there.insert(path.to_owned())),
            }
        }
        Ok(wanted)
    }

    /// Looks for secrets in all that is about to be taken.
    pub(super) async fn search(&self, container: &ContainerId, phase: &Phase, secrets: &Values) -> Result<(), Error> {
        let wanted = self.wanted(container, phase).await?;
        let files = SyncIoBridge::new(StreamReader::new(self.engine.export(container).await?));
        let secrets = secrets.clone();
        let looking = tokio::task::spawn_blocking(move || look(files, &wanted, &secrets));
        let looked = looking.await.map_err(|_| Error::internal("the thread that reads a container's files ended"))?;
        match looked.map_err(|error| Error::precondition(format!("what the phase left cannot be searched: {error}")))? {
            None => Ok(()),
            Some((path, Found { key, form })) => {
                let path = aigis_proxy::quoted(&path);
                let message = format!("the phase left the secret {key} in /{path}, {form}: nothing of it is stored");
                let hint = "see to it that no command writes it anywhere but below /tmp";
                Err(Error::precondition(message).hint(hint).with("path", path))
            }
        }
    }

    /// Stores what differs from a container's image.
    pub(super) async fn take(&self, container: &ContainerId, phase: &Phase) -> Result<Blob, Error> {
        let wanted = self.wanted(container, phase).await?;
        let files = SyncIoBridge::new(StreamReader::new(self.engine.export(container).await?));
        let (writer, reader) = tokio::io::duplex(BETWEEN);
        let mut pipe = SyncIoBridge::new(writer);
        let runtime = tokio::runtime::Handle::current();
        let (engine, container) = (self.engine.clone(), container.clone());
        let picking = tokio::task::spawn_blocking(move || {
            let mut out = Writer::new(io::BufWriter::with_capacity(BUFFER, &mut pipe));
            let torn = pick(files, &wanted, &mut out)?;
            for Member { path, mode, owner, .. } in torn {
                // Alone, it is a file like any other.
                let file = runtime.block_on(engine.file(&container, &format!("/{path}")));
                let file = file.map_err(|error| io::Error::other(error.to_string()))?;
                let mut members = Members::new(SyncIoBridge::new_with_handle(StreamReader::new(file), runtime.clone()));
                let member = members.next()?.ok_or(io::ErrorKind::UnexpectedEof)?;
                put(&Member { path, mode, owner, ..member }, &mut members, &mut out)?;
            }
            out.end()?.flush()?;
            pipe.shutdown()
        });
        let (picked, stored) = tokio::join!(picking, self.blobs.put(Life::Kept, reader));
        match picked.map_err(|_| Error::internal("the thread that reads a container's files ended"))? {
            Ok(()) => Ok(stored?.blob),
            // A store that takes no more breaks it off: why it does not is what counts.
            Err(error) => Err(stored
                .err()
                .unwrap_or_else(|| Error::precondition(format!("what the phase left cannot be taken out: {error}")))),
        }
    }
}

/// The first path that is wanted and holds a secret: in its content, its name, or where it leads.
fn look(files: impl Read, wanted: &Wanted, secrets: &Values) -> io::Result<Option<(String, Found)>> {
    let mut members = Members::new(files);
    let mut buffer = vec![0; BUFFER];
    while let Some(member) = members.next()? {
        if !wanted.there.contains(&member.path) {
            continue;
        }
        let mut search = secrets.search();
        let mut found = search.push(member.path.as_bytes());
        if let What::Link(target) = &member.what {
            found = found.or_else(|| secrets.search().push(target.as_bytes()));
        }
        let mut search = secrets.search();
        while found.is_none() && member.what == What::File {
            match members.read(&mut buffer)? {
                0 => break,
                count => found = search.push(buffer.get(..count).unwrap_or_default()),
            }
        }
        if let Some(found) = found {
            return Ok(Some((member.path, found)));
        }
    }
    Ok(None)
}

/// Writes what is wanted; answers with names of files that are not, and hold what is.
fn pick(files: impl Read, wanted: &Wanted, out: &mut Writer<impl Write>) -> io::Result<Vec<Member>> {
    let mut members = Members::new(files);
    let mut torn = Vec::new();
    while let Some(member) = members.next()? {
        if !wanted.there.contains(&member.path) {
            continue;
        }
        match &member.what {
            What::HardLink(target) if !wanted.there.contains(target) => torn.push(member),
            _ => put(&member, &mut members, out)?,
        }
    }
    for path in &wanted.gone {
        let (above, name) = path.rsplit_once('/').map_or(("", path.as_str()), |(above, name)| (above, name));
        let slash = if above.is_empty() { "" } else { "/" };
        out.file_with(&format!("{above}{slash}{GONE}{name}"), Attributes::plain(false), 0)?;
    }
    Ok(torn)
}

fn put(member: &Member, content: &mut impl Read, out: &mut Writer<impl Write>) -> io::Result<()> {
    let Member { path, what, mode, owner, size, capability, .. } = member;
    let attributes = Attributes { mode: *mode, owner: *owner, time: 0 };
    match what {
        What::Directory => out.directory_with(path, attributes),
        What::Link(target) => out.link_with(path, target, attributes),
        What::HardLink(target) => out.hard_link_with(path, target, attributes),
        What::File => {
            if let Some(capability) = capability {
                out.capability(capability)?;
            }
            out.file_with(path, attributes, *size)?;
            let mut buffer = vec![0; BUFFER];
            loop {
                match content.read(&mut buffer)? {
                    0 => return out.end_file(*size),
                    count => out.content(buffer.get(..count).unwrap_or_default())?,
                }
            }
        }
        // No layer of ours holds a device.
        What::Other => Ok(()),
    }
}

fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkg_36_what_is_wanted_is_taken_as_it_is_and_what_is_gone_has_a_whiteout() {
        let mut files = Writer::new(Vec::new());
        let own = |mode| Attributes { mode, owner: (5, 6), time: 9 };
        files.file_with("base", own(0o644), 0).unwrap();
        files.directory_with("app", own(0o700)).unwrap();
        files.file_with("app/a", own(0o4755), 1).unwrap();
        files.content(b"a").unwrap();
        files.end_file(1).unwrap();
        files.hard_link_with("app/b", "app/a", own(0o4755)).unwrap();
        files.hard_link_with("app/c", "base", own(0o644)).unwrap();
        let files = files.end().unwrap();
        let there = ["app", "app/a", "app/b", "app/c"].map(str::to_owned).into();
        let wanted = Wanted { there, gone: vec!["etc/gone".to_owned(), "top".to_owned()] };
        let mut out = Writer::new(Vec::new());
        let torn = pick(&files[..], &wanted, &mut out).unwrap();
        assert_eq!(torn.iter().map(|member| member.path.as_str()).collect::<Vec<_>>(), ["app/c"]);
        let tar = out.end().unwrap();
        let (mut members, mut found) = (Members::new(&tar[..]), Vec::new());
        while let Some(member) = members.next().unwrap() {
            found.push((member.path, member.mode, member.owner));
        }
        let expected = [
            ("app", 0o700, (5, 6)),
            ("app/a", 0o4755, (5, 6)),
            ("app/b", 0o4755, (5, 6)),
            ("etc/.wh.gone", 0o644, (0, 0)),
            (".wh.top", 0o644, (0, 0)),
        ];
        assert_eq!(found, expected.map(|(path, mode, owner)| (path.to_owned(), mode, owner)));
    }
}
