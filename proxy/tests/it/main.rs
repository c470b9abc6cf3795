//! What `proxy` promises, shown on a real `nats-server`.

#[cfg(test)]
mod blobs;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod bus_server;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod identity;
