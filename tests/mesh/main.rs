//! The acceptance rows, on the real binary: a test bears its row's number.

#[cfg(test)]
mod blobs;
mod listing;
