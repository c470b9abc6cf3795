//! What `registry` and the buckets under it promise, shown on a real `nats-server`.

#[cfg(test)]
mod archive;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod blobs;
#[cfg(test)]
mod buckets;
#[cfg(test)]
mod bus_server;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod claims;
#[cfg(test)]
mod issued;
#[cfg(test)]
mod records;
