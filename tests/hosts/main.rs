//! Several hosts, on a lab. Run by `cargo test --workspace --test hosts`: in one process, so that they share a lab.

#[cfg(test)]
mod apps;
#[cfg(test)]
mod breaks;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod chains;
mod cluster;
#[cfg(test)]
mod crew;
#[cfg(test)]
mod deployments;
#[cfg(test)]
mod doors;
#[cfg(test)]
mod engines;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod links;
#[cfg(test)]
mod many;
#[cfg(test)]
mod names;
#[cfg(test)]
mod packages;
#[cfg(test)]
mod plugins;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod reaper;
#[cfg(test)]
mod streams;
