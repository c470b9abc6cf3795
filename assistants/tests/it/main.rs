//! What coordinators promise, shown on a real `nats-server` with places that only pretend to have an engine.

#[cfg(test)]
#[path = "../../../registry/tests/it/bus_server.rs"]
#[expect(dead_code, reason = "what only the registry's tests need")]
mod bus_server;
#[cfg(test)]
mod chains;
#[cfg(test)]
mod mesh;
#[cfg(test)]
mod place;
#[cfg(test)]
mod records;
