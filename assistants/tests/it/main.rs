//! What coordinators promise, shown on a real `nats-server` with places that only pretend to have an engine.

#[cfg(test)]
mod bus_server;
#[cfg(test)]
mod chains;
#[cfg(test)]
mod mesh;
#[cfg(test)]
mod place;
