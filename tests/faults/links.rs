//! Links that are cut, half open, flapping, bad and thin, and observers that slept.

use crate::row::Row;

pub(crate) const ROWS: &[Row] = &[];
