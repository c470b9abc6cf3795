//! What `proxy` promises, shown on a real `nats-server`.

mod bus_server;
mod identity;
