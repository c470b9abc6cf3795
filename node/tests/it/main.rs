//! What `node` promises, shown on a real engine.

#[cfg(test)]
mod apps;
#[cfg(test)]
mod burned;
#[cfg(test)]
mod container;
#[cfg(test)]
mod deployed;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod images;
#[cfg(test)]
mod in_process;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod optimize;
#[cfg(test)]
mod start;
