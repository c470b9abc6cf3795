//! The acceptance rows, on the real binary: a test bears its row's number.

mod blobs;
mod listing;
