//! Tests of the node against a real engine.

mod engine;
mod images;
