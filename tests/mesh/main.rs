//! The acceptance rows, on the real binary: a test bears its row's number.

#[cfg(test)]
mod arguments;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod bad_cli;
#[cfg(test)]
mod bad_config;
#[cfg(test)]
mod bad_credential;
#[cfg(test)]
mod bad_labels;
#[cfg(test)]
mod blobs;
#[cfg(test)]
mod by_hand;
#[cfg(test)]
mod chains;
#[cfg(test)]
mod client;
#[cfg(test)]
mod debug;
#[cfg(test)]
mod describe;
#[cfg(test)]
mod duties;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod faults_calls;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod health;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod joining;
#[cfg(test)]
mod keep;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod message;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod naming;
#[cfg(test)]
mod optimize;
#[cfg(test)]
mod packages;
#[cfg(test)]
mod plugin_check;
#[cfg(test)]
mod plugins;
#[cfg(test)]
mod python;
#[cfg(test)]
mod readers;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod services;
#[cfg(test)]
mod site;
#[cfg(test)]
mod socket;
#[cfg(test)]
mod status;
#[cfg(test)]
mod store;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod viewer;
#[cfg(test)]
mod watch;
#[cfg(test)]
mod wrap;
