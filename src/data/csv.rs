//! Comma-separated numbers: one row per line, the target in the last column; `#` starts a comment line.
//!
//! A first row without any number is a header and is skipped.

use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{DataError, Place, Table};

/// Row-major features and targets of the rows in `text`; `path` serves the messages.
pub(super) fn parse(text: &str, path: &Path) -> Result<Table, DataError> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let mut features = Vec::new();
    let mut targets = Vec::new();
    let mut width = None;
    let mut record = StringRecord::new();
    // The text is in memory and is UTF-8, so the reader has no error of its own left.
    while reader.read_record(&mut record).unwrap_or(false) {
        let line = line(&record, text);
        let expected = *width.get_or_insert(record.len());
        if record.len() != expected {
            return Err(DataError::Ragged {
                path: path.into(),
                line,
                found: record.len(),
                expected,
            });
        }
        let is_first = record
            .position()
            .is_some_and(|position| position.record() == 0);
        if is_first && record.iter().all(|field| field.parse::<f64>().is_err()) {
            continue;
        }
        for (column, field) in (1..).zip(&record) {
            let number = Place { path, line, column }.finite(field)?;
            if column < expected {
                features.push(number);
            } else {
                targets.push(number);
            }
        }
    }
    Ok((features, targets))
}

/// The line on which the record starts. Its position stands before the blank and comment lines that the reader skipped.
fn line(record: &StringRecord, text: &str) -> u64 {
    let Some(position) = record.position() else {
        return 0;
    };
    let skipped = text[position.byte() as usize..]
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with('#'));
    position.line() + skipped.count() as u64
}
