//! The starts of bus servers, each noted once by one of the nodes.

use std::sync::PoisonError;

use aigis_proxy::{
    Error,
    kv::{self, Bucket, Expect, Operation},
};

use super::{Content, Own, Registry};
use crate::record::{BusRecord, Key};

impl Registry {
    /// Notes the start of the bus server in use, unless a node did; to be called after each connect, and now and then:
    /// a node that left this server for another of the same bus takes away what it noted.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn note_birth(&self) -> Result<(), Error> {
        for server in self.bus_servers() {
            self.note_birth_of(server).await?;
        }
        Ok(())
    }

    /// Says which bus server this node supervises as one of several: it notes that one's start too, whichever server it
    /// uses itself.
    pub fn supervises(&self, server: Option<String>) {
        *self.supervised.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// The bus servers whose starts are for this node to note.
    pub(super) fn bus_servers(&self) -> Vec<String> {
        let mut servers = vec![kv::server_id(&self.bus)];
        let own = self.supervised.lock().unwrap_or_else(PoisonError::into_inner).clone();
        servers.extend(own.filter(|own| !servers.contains(own)));
        servers
    }

    async fn note_birth_of(&self, server: String) -> Result<(), Error> {
        let filter = format!("bus.{server}.*");
        let newest = kv::newest(&self.bus, Bucket::Records, &filter, kv::PATIENCE).await?;
        // To write it again would make the bus seem young.
        if newest.as_ref().is_some_and(|entry| entry.operation == Operation::Put) {
            return Ok(());
        }
        let key = Key::Bus(server.clone(), self.node.clone()).to_string();
        let place = self.place(&key);
        let mut own = place.lock().await;
        let content = Content::Bus(BusRecord { server, node: self.node.clone() });
        let body = content.seal()?.into();
        let expect = Expect::Newest { filter: &filter, revision: newest.map_or(0, |entry| entry.revision) };
        match kv::put(&self.bus, Bucket::Records, &key, body, expect, kv::PATIENCE).await {
            Ok(revision) => {
                *own = Own { revision, content };
                Ok(())
            }
            Err(kv::Error::WrongRevision { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
