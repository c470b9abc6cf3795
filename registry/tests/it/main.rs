//! What `registry` and the buckets under it promise, shown on a real `nats-server`.

mod audit;
mod buckets;
mod bus_server;
mod cache;
mod records;
