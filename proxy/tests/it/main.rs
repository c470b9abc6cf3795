//! What `proxy` promises, shown on a real `nats-server`.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod bad_replies;
#[cfg(test)]
mod blobs;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod bus_server;
#[cfg(test)]
mod callee;
#[cfg(test)]
mod callers;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod packs;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod socket;
#[cfg(test)]
mod sweeps;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tunnels;
#[cfg(test)]
mod unread;
