//! Engines that die, hang, fall silent, and storm.

use crate::row::Row;

pub(crate) const ROWS: &[Row] = &[];
