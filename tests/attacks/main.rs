//! Attacks on a mesh of the real binary, row by row: made with plain clients and hostile inputs, never through code of
//! ours. Each has no effect, is refused by whom and as its row in `docs/security.md` says, and is on record where that is
//! due. A test bears its rows' numbers; `scripts/attacks` prints a line for each.

#[cfg(test)]
mod callee;
#[cfg(test)]
mod chain;
#[cfg(test)]
mod container;
#[cfg(test)]
mod impostor;
#[cfg(test)]
mod node;
#[cfg(test)]
mod outsider;
#[cfg(test)]
mod person;
#[cfg(test)]
mod plugin;
#[cfg(test)]
mod supply;
#[cfg(test)]
mod tenant;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod world;

/// Whether rows are to be played in full.
#[cfg(test)]
fn is_long() -> bool {
    std::env::var_os("AIGIS_LONG").is_some()
}
