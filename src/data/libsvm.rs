//! The LIBSVM format: one row per line, `label index:value index:value …  # comment`.
//!
//! Indices start at 1 and ascend; what is absent is 0; the largest index of the file is the number of columns.

use std::path::Path;

use super::{DataError, MOST_NUMBERS, Place, Table};

/// Above this many numbers (128 MiB) a table must not be almost empty …
const SURELY_SMALL: usize = 1 << 24;
/// … with fewer than one entry in this many.
const ALMOST_EMPTY: usize = 1_000;

/// Row-major features and targets of the rows in `text`; `path` serves the messages.
pub(super) fn parse(text: &str, path: &Path) -> Result<Table, DataError> {
    let mut targets = Vec::new();
    // (row, index, value): the number of columns is known only at the end.
    let mut entries = Vec::new();
    let (mut columns, mut widest) = (0, 1);
    for (line, text) in (1..).zip(text.lines()) {
        let content = text.split('#').next().unwrap_or_default();
        let mut last = 0;
        for (column, field) in (1..).zip(content.split_whitespace()) {
            let place = Place { path, line, column };
            if column == 1 {
                targets.push(place.finite(field)?);
                continue;
            }
            let (index, value) = match field.split_once(':').map(|(i, v)| (i.parse(), v)) {
                Some((Ok(index), value)) if index > 0 => (index, value),
                _ => return Err(place.error(field, "index:value with an index from 1")),
            };
            if index <= last {
                return Err(place.error(
                    field,
                    format!("an index above {last}; sort the entries of the line by index"),
                ));
            }
            last = index;
            entries.push((targets.len() - 1, index - 1, place.finite(value)?));
        }
        if last > columns {
            (columns, widest) = (last, line);
        }
    }

    let rows = targets.len();
    let size = match rows.checked_mul(columns) {
        Some(size) if size <= MOST_NUMBERS => size,
        _ => {
            return Err(DataError::TooLarge {
                path: path.into(),
                rows,
                columns,
                line: widest,
            });
        }
    };
    if size > SURELY_SMALL && entries.len() < size / ALMOST_EMPTY {
        return Err(DataError::AlmostEmpty {
            path: path.into(),
            line: widest,
            columns,
            entries: entries.len(),
            gib: (size * size_of::<f64>()) as f64 / (1_u64 << 30) as f64,
        });
    }
    let mut features = vec![0.0; size];
    for (row, column, value) in entries {
        features[row * columns + column] = value;
    }
    Ok((features, targets))
}
