//! Real data: read, standardise, split over the agents.
//!
//! Rows `a_r` with targets `b_r`, split over `n` agents, become `(1/n) Σ_i (1/m_i) Σ_r loss(a_r·x, b_r) + r(x)`, where agent `i` holds
//! `m_i` rows: every row weighs the same where `n` divides their number. [`partition`] says which rows each agent holds. The sets in `datasets/` are listed in a [`Manifest`].

mod csv;
mod libsvm;
pub mod manifest;
mod partition;

pub use manifest::{Entry, Manifest, Task};
pub use partition::{Split, partition};

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rand::RngExt;

use crate::random::stream;

/// The most numbers that a data set may hold (2 GiB of `f64`): a sparse file with one huge index would otherwise
/// ask for all memory.
const MOST_NUMBERS: usize = 1 << 28;

/// What can be wrong with data; every message names the file, the place and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: the gzip stream is truncated or damaged: {source}", path.display())]
    Gzip { path: PathBuf, source: io::Error },
    #[error("{}: unknown kind of file; expected .csv, .libsvm, .svm or .txt, each also with .gz", path.display())]
    UnknownKind { path: PathBuf },
    #[error("{}, line {line}: not UTF-8 text", path.display())]
    NotText { path: PathBuf, line: u64 },
    /// `column` counts the fields of the line from 1.
    #[error("{}, line {line}, column {column}: found `{found}`, expected {expected}", path.display())]
    Field {
        path: PathBuf,
        line: u64,
        column: usize,
        found: String,
        expected: String,
    },
    #[error("{}, line {line}: found {found} columns, expected {expected} as in the first row", path.display())]
    Ragged {
        path: PathBuf,
        line: u64,
        found: usize,
        expected: usize,
    },
    #[error("{}: no rows; expected at least one", path.display())]
    Empty { path: PathBuf },
    #[error("{}: no features; expected at least one beside the target", path.display())]
    NoFeatures { path: PathBuf },
    #[error("{}: {rows} rows × {columns} columns; expected at most {MOST_NUMBERS} numbers", path.display())]
    TooLarge {
        path: PathBuf,
        rows: usize,
        columns: usize,
    },
    #[error("{name}: the targets have {count} classes ({found}); expected exactly two")]
    Classes {
        name: String,
        count: usize,
        found: String,
    },
    #[error("cannot split {rows} rows over {agents} agents; expected between 1 and {rows} agents")]
    Agents { rows: usize, agents: usize },
    /// The source holds the line and column.
    #[error("{}:{source}", path.display())]
    Manifest {
        path: PathBuf,
        source: Box<ron::error::SpannedError>,
    },
    #[error("{}: the {what} is {found}, but the manifest says {expected}", path.display())]
    Mismatch {
        path: PathBuf,
        what: &'static str,
        found: String,
        expected: String,
    },
}

/// A table of numbers with one target per row.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// The file's name without its endings.
    pub name: String,
    /// Row-major `[rows, columns]`.
    pub features: Vec<f64>,
    pub rows: usize,
    pub columns: usize,
    /// `[rows]`: a class label or a real number.
    pub targets: Vec<f64>,
}

/// Reads a data set; the file's name tells its kind: `.csv` (target in the last column, header optional) or
/// `.libsvm`, `.svm`, `.txt` (`label index:value …`), each also with `.gz`. Gzip is recognised by its magic bytes.
///
/// # Errors
/// Whatever is not a finite number in its place, with file, line and column; see [`DataError`].
pub fn read(path: &Path) -> Result<Dataset, DataError> {
    let text = read_text(path)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let file = file.strip_suffix(".gz").unwrap_or(&file);
    let (name, kind) = file.rsplit_once('.').unwrap_or((file, ""));
    let (features, targets) = match kind {
        "csv" => csv::parse(&text, path)?,
        "libsvm" | "svm" | "txt" => libsvm::parse(&text, path)?,
        _ => return Err(DataError::UnknownKind { path: path.into() }),
    };
    if targets.is_empty() {
        return Err(DataError::Empty { path: path.into() });
    }
    if features.is_empty() {
        return Err(DataError::NoFeatures { path: path.into() });
    }
    Ok(Dataset {
        name: name.into(),
        rows: targets.len(),
        columns: features.len() / targets.len(),
        features,
        targets,
    })
}

/// Row-major features and targets, as the parsers return them.
type Table = (Vec<f64>, Vec<f64>);

/// The file's text, unzipped where it is gzip, without a byte order mark.
fn read_text(path: &Path) -> Result<String, DataError> {
    let mut bytes = fs::read(path).map_err(|source| DataError::Read {
        path: path.into(),
        source,
    })?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(bytes.as_slice())
            .read_to_end(&mut plain)
            .map_err(|source| DataError::Gzip {
                path: path.into(),
                source,
            })?;
        bytes = plain;
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        DataError::NotText {
            path: path.into(),
            line: 1 + valid.iter().filter(|&&byte| byte == b'\n').count() as u64,
        }
    })?;
    Ok(text
        .strip_prefix('\u{feff}')
        .map(Into::into)
        .unwrap_or(text))
}

/// Where the parsers stand, for their messages.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path,
    line: u64,
    column: usize,
}

impl Place<'_> {
    fn error(self, found: &str, expected: impl Into<String>) -> DataError {
        DataError::Field {
            path: self.path.into(),
            line: self.line,
            column: self.column,
            found: found.into(),
            expected: expected.into(),
        }
    }

    fn finite(self, field: &str) -> Result<f64, DataError> {
        match field.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(self.error(field, "a finite number")),
        }
    }
}

impl Dataset {
    /// The features of row `i`, `[columns]`. Panics where `i` is not below `rows`, as a slice does.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.features[i * self.columns..(i + 1) * self.columns]
    }

    /// Gives every column mean 0 and population standard deviation 1; a constant column becomes 0. Targets stay.
    pub fn standardize(&mut self) {
        let rows = self.rows as f64;
        for column in 0..self.columns {
            let values = || self.features.iter().skip(column).step_by(self.columns);
            // In units of the largest entry nothing overflows, and a constant column is exactly ±1 with deviation 0.
            let unit = values().fold(0.0, |largest: f64, value| largest.max(value.abs()));
            let mean = values().map(|value| value / unit).sum::<f64>() / rows;
            let squares = values().map(|value| (value / unit - mean).powi(2));
            let deviation = (squares.sum::<f64>() / rows).sqrt();
            for value in self.features.iter_mut().skip(column).step_by(self.columns) {
                *value = if deviation > 0.0 {
                    (*value / unit - mean) / deviation
                } else {
                    0.0
                };
            }
        }
    }

    /// Renames the two classes found in the targets (±1, 0/1, 1/2, …) to −1 (the smaller) and +1.
    ///
    /// # Errors
    /// Any other number of classes, with the classes found; the targets are then unchanged.
    pub fn binary_targets(&mut self) -> Result<(), DataError> {
        let classes = self.classes();
        let [_, larger] = classes[..] else {
            let shown = classes.iter().take(12).map(f64::to_string);
            let more = (classes.len() > 12).then(|| "…".into());
            return Err(DataError::Classes {
                name: self.name.clone(),
                count: classes.len(),
                found: shown.chain(more).collect::<Vec<_>>().join(", "),
            });
        };
        for target in &mut self.targets {
            *target = if *target == larger { 1.0 } else { -1.0 };
        }
        Ok(())
    }

    /// The distinct targets in ascending order.
    fn classes(&self) -> Vec<f64> {
        let mut classes = self.targets.clone();
        classes.sort_by(f64::total_cmp);
        classes.dedup();
        classes
    }

    /// As many rows, drawn from the rows with replacement (Efron, 1979).
    pub fn bootstrap(&self, seed: u64) -> Dataset {
        let mut random = stream(seed, "data/bootstrap", &[]);
        let drawn: Vec<usize> = (0..self.rows)
            .map(|_| random.random_range(0..self.rows))
            .collect();
        Dataset {
            features: drawn.iter().flat_map(|&i| self.row(i)).copied().collect(),
            targets: drawn.iter().map(|&i| self.targets[i]).collect(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn read_bytes(name: &str, bytes: &[u8]) -> Result<Dataset, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        read(&path)
    }

    /// The message without the folder.
    fn message(name: &str, bytes: &[u8]) -> String {
        let message = read_bytes(name, bytes).unwrap_err().to_string();
        message[message.find(name).unwrap()..].into()
    }

    fn dataset(columns: usize, features: &[f64], targets: &[f64]) -> Dataset {
        Dataset {
            name: "t".into(),
            features: features.into(),
            rows: targets.len(),
            columns,
            targets: targets.into(),
        }
    }

    #[test]
    fn reads_libsvm() {
        let expected = dataset(
            3,
            &[0.5, 0.0, -2e3, 0.0, 0.0, 0.0, 0.0, 7.0, 0.0],
            &[1., -1., 3.],
        );
        let text = "\u{feff}# a comment\n+1 1:0.5 3:-2e3 # another\n\n-1\r\n3.0\t2:7  \n";
        for name in ["t.libsvm", "t.svm", "t.txt"] {
            assert_eq!(read_bytes(name, text.as_bytes()).unwrap(), expected);
        }
        // With and without the ending that says so.
        for name in ["t.libsvm.gz", "t.libsvm"] {
            assert_eq!(read_bytes(name, &gzip(text)).unwrap(), expected);
        }
    }

    #[test]
    fn reads_csv() {
        let expected = dataset(2, &[1., 2., 4., 5.5], &[3., -6.]);
        for text in [
            "1,2,3\n4,5.5,-6\n",
            "1, 2 ,3\r\n4,5.5,-6",
            "a,b,target\n1,2,3\n\n4,\"5.5\",-6\n",
            "\u{feff}# a comment\n\na,b,target\n1,2,3\n4,5.5,-6\n",
        ] {
            assert_eq!(
                read_bytes("t.csv", text.as_bytes()).unwrap(),
                expected,
                "{text:?}"
            );
            assert_eq!(read_bytes("t.csv.gz", &gzip(text)).unwrap(), expected);
        }
        assert_eq!(expected.row(1), [4., 5.5]);
    }

    #[test]
    fn rejects_bad_fields_with_their_place() {
        let number = "expected a finite number";
        let pair = "expected index:value with an index from 1";
        for (name, text, expected) in [
            (
                "t.csv",
                "1,2\nx,2\n",
                format!("t.csv, line 2, column 1: found `x`, {number}"),
            ),
            (
                "t.csv",
                "a,b\n1,2\n3,NaN\n",
                format!("t.csv, line 3, column 2: found `NaN`, {number}"),
            ),
            (
                "t.csv",
                "1,2\n\n# c\n3,\n",
                format!("t.csv, line 4, column 2: found ``, {number}"),
            ),
            (
                "t.csv",
                "1,2\n-inf,4",
                format!("t.csv, line 2, column 1: found `-inf`, {number}"),
            ),
            (
                "t.csv",
                "1,1e999\n",
                format!("t.csv, line 1, column 2: found `1e999`, {number}"),
            ),
            // A first row with a number in it is no header.
            (
                "t.csv",
                "1,oops\n3,4\n",
                format!("t.csv, line 1, column 2: found `oops`, {number}"),
            ),
            (
                "t.csv",
                "a,b\r\n\r\n1,2\r\n# c\r\n1,x\r\n",
                format!("t.csv, line 5, column 2: found `x`, {number}"),
            ),
            (
                "t.csv",
                "a,b\n1,2\n1,2,3\n",
                "t.csv, line 3: found 3 columns, expected 2 as in the first row".into(),
            ),
            (
                "t.svm",
                "1 1:2\nb 1:2\n",
                format!("t.svm, line 2, column 1: found `b`, {number}"),
            ),
            (
                "t.svm",
                "nan 1:2\n",
                format!("t.svm, line 1, column 1: found `nan`, {number}"),
            ),
            (
                "t.svm",
                "# c\n1 1:2 2:inf\n",
                format!("t.svm, line 2, column 3: found `inf`, {number}"),
            ),
            (
                "t.svm",
                "1 1:2 2:\n",
                format!("t.svm, line 1, column 3: found ``, {number}"),
            ),
            (
                "t.svm",
                "1 0:2\n",
                format!("t.svm, line 1, column 2: found `0:2`, {pair}"),
            ),
            (
                "t.svm",
                "1 -1:2\n",
                format!("t.svm, line 1, column 2: found `-1:2`, {pair}"),
            ),
            (
                "t.svm",
                "1 qid:2\n",
                format!("t.svm, line 1, column 2: found `qid:2`, {pair}"),
            ),
            (
                "t.svm",
                "1 7\n",
                format!("t.svm, line 1, column 2: found `7`, {pair}"),
            ),
            (
                "t.svm",
                "1 5:1 3:1\n",
                "t.svm, line 1, column 3: found `3:1`, expected an index above 5".into(),
            ),
            (
                "t.svm",
                "1 5:1 5:1\n",
                "t.svm, line 1, column 3: found `5:1`, expected an index above 5".into(),
            ),
        ] {
            assert_eq!(message(name, text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn rejects_bad_files() {
        for text in ["", "\n\n", "# only a comment\n"] {
            assert_eq!(
                message("t.libsvm", text.as_bytes()),
                "t.libsvm: no rows; expected at least one"
            );
            assert_eq!(
                message("t.csv", text.as_bytes()),
                "t.csv: no rows; expected at least one"
            );
        }
        assert_eq!(
            message("t.csv", b"a,b\n"),
            "t.csv: no rows; expected at least one"
        );
        assert!(message("t.csv", b"1\n2\n").contains("no features"));
        assert!(message("t.svm", b"1\n-1\n").contains("no features"));
        assert!(
            message("t.svm", b"1 99999999999:1\n").contains("expected at most 268435456 numbers")
        );
        assert!(message("t.svm", b"1 18446744073709551615:1\n1\n").contains("expected at most"));
        assert!(
            message("t.svm", b"1 99999999999999999999999:1\n").contains("expected index:value")
        );
        assert_eq!(
            message("t.csv", b"1,2\n3,\xff\n"),
            "t.csv, line 2: not UTF-8 text"
        );
        assert!(message("t.parquet", b"1,2\n").contains("expected .csv, .libsvm, .svm or .txt"));
        let zipped = gzip("1 1:2\n-1 1:3\n");
        for length in [5, zipped.len() / 2, zipped.len() - 1] {
            assert!(
                message("t.svm.gz", &zipped[..length]).contains("gzip stream is truncated"),
                "{length}"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), &folder.path().join("missing.csv")] {
            let message = read(path).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("{}: cannot be read: ", path.display())),
                "{message}"
            );
        }
    }

    #[test]
    fn standardize_gives_mean_zero_and_deviation_one() {
        let mut data = dataset(
            4,
            &[1., 0.1, 0., 1e308, 3., 0.1, 0., -1e308, 8., 0.1, 0., 1e308],
            &[5., 6., 7.],
        );
        data.standardize();
        // By hand: mean 4, population variance 26/3; and (1, -1, 1) has mean 1/3, variance 8/9.
        for (i, (first, last)) in [(-3., 2.), (-1., -4.), (4., 2.)].into_iter().enumerate() {
            let expected = [first / (26f64 / 3.).sqrt(), 0., 0., last / 8f64.sqrt()];
            for (value, expected) in data.row(i).iter().zip(expected) {
                assert!((value - expected).abs() < 1e-15, "{value} {expected}");
            }
        }
        assert_eq!(data.targets, [5., 6., 7.]);
    }

    #[test]
    fn binary_targets_accepts_exactly_two_classes() {
        for (targets, expected) in [
            ([-1., 1., -1.], [-1., 1., -1.]),
            ([0., 1., 1.], [-1., 1., 1.]),
            ([2., 1., 2.], [1., -1., 1.]),
        ] {
            let mut data = dataset(1, &[0.; 3], &targets);
            data.binary_targets().unwrap();
            assert_eq!(data.targets, expected);
        }
        let mut data = dataset(1, &[0.; 4], &[2., 0., 1.5, 0.]);
        assert_eq!(
            data.binary_targets().unwrap_err().to_string(),
            "t: the targets have 3 classes (0, 1.5, 2); expected exactly two"
        );
        assert_eq!(data.targets, [2., 0., 1.5, 0.]);
        assert!(dataset(1, &[0.; 2], &[1., 1.]).binary_targets().is_err());
        let many: Vec<f64> = (0..100).map(f64::from).collect();
        let message = dataset(1, &many, &many)
            .binary_targets()
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("100 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …)"),
            "{message}"
        );
    }

    #[test]
    fn bootstrap_draws_whole_rows() {
        let numbers: Vec<f64> = (0..100).map(f64::from).collect();
        let data = dataset(1, &numbers, &numbers);
        let drawn = data.bootstrap(1);
        assert_eq!(
            (drawn.rows, drawn.columns, drawn.row(3)),
            (100, 1, &drawn.targets[3..4])
        );
        // The share of distinct rows is 1 − 1/e on average.
        assert!((50..80).contains(&drawn.classes().len()));
        assert_eq!(drawn, data.bootstrap(1));
        assert_ne!(drawn, data.bootstrap(2));
    }
}
