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

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flate2::read::MultiGzDecoder;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::random::stream;

/// The most numbers that a data set may hold (2 GiB of `f64`): a sparse file with one huge index would otherwise
/// ask for all memory.
const MOST_NUMBERS: usize = 1 << 28;
/// The most bytes of text, unzipped: a gzip file of 4 MB may hold 4 GB.
const MOST_BYTES: u64 = 1 << 30;
/// A column whose deviation is this small beside its largest entry is constant but for rounding.
const CONSTANT: f64 = 1e-13;

/// What can be wrong with data; every message names the file, the place and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: the gzip stream is truncated or damaged: {source}", path.display())]
    Gzip { path: PathBuf, source: io::Error },
    #[error("{}: more than {MOST_BYTES} bytes of text; expected less, split the file", path.display())]
    TooLong { path: PathBuf },
    #[error("{}: UTF-16 text (as Excel writes it); expected UTF-8, save it as such", path.display())]
    Utf16 { path: PathBuf },
    #[error("{}, line {line}: {what}; expected {cure}", path.display())]
    Ambiguous {
        path: PathBuf,
        line: u64,
        what: String,
        cure: String,
    },
    #[error("{}: no column {column}; found {found}", path.display())]
    NoColumn {
        path: PathBuf,
        column: String,
        found: String,
    },
    #[error("{}: {what} is for .csv files; expected none for this one", path.display())]
    NotCsv { path: PathBuf, what: &'static str },
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
    #[error("{}: {rows} rows × {columns} columns (by the index on line {line}); expected at most {MOST_NUMBERS} numbers", path.display())]
    TooLarge {
        path: PathBuf,
        rows: usize,
        columns: usize,
        line: u64,
    },
    #[error("{}, line {line}: the index {columns} makes {columns} columns ({gib:.1} GiB) for {entries} entries in all; \
        expected columns that are used, renumber them or mend the index", path.display())]
    AlmostEmpty {
        path: PathBuf,
        line: u64,
        columns: usize,
        entries: usize,
        gib: f64,
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

/// A column of a CSV file: its name in the header, or its number from 0; in RON `"name"` or `3`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(untagged)]
pub enum Column {
    /// Its number, from 0.
    Index(usize),
    /// Its name in the header.
    Name(String),
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Column::Index(index) => write!(f, "{index}"),
            Column::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// How a CSV file is to be read, where its look does not say it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// Whether line 1 is a header; found out if left out.
    pub header: Option<bool>,
    /// The target's column; the last if left out.
    pub target: Option<Column>,
    /// Columns that are neither feature nor target; an index, where one is found, if left out.
    pub skip: Option<Vec<Column>>,
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
    /// What was taken for what, where the file leaves a choice.
    pub notes: Vec<String>,
}

/// [`read_as`] with nothing said about the columns.
///
/// # Errors
/// As [`read_as`].
pub fn read(path: &Path) -> Result<Dataset, DataError> {
    read_as(path, &Columns::default())
}

/// Reads a data set; the file's name tells its kind: `.csv` (target in the last column, header optional) or
/// `.libsvm`, `.svm`, `.txt` (`label index:value …`), each also with `.gz`. Gzip is recognised by its magic bytes.
///
/// # Errors
/// Whatever is not a finite number in its place, with file, line and column; a CSV file that can be read in two ways; see
/// [`DataError`].
pub fn read_as(path: &Path, columns: &Columns) -> Result<Dataset, DataError> {
    let text = read_text(path)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let file = file.strip_suffix(".gz").unwrap_or(&file);
    let (name, kind) = file.rsplit_once('.').unwrap_or((file, ""));
    let mut notes = Vec::new();
    if kind != "csv" {
        let given = [
            ("header", columns.header.is_some()),
            ("target", columns.target.is_some()),
            ("skip", columns.skip.is_some()),
        ];
        if let Some((what, _)) = given.into_iter().find(|(_, given)| *given) {
            let path = path.into();
            return Err(DataError::NotCsv { path, what });
        }
    }
    let (features, targets) = match kind {
        "csv" => csv::parse(&text, path, columns, &mut notes)?,
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
        notes,
    })
}

/// Logs what was taken for what in a file, once per process: problems are drawn from it many times.
pub(crate) fn say_once(path: &Path, notes: &[String]) {
    static SAID: Mutex<BTreeSet<(PathBuf, String)>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    for note in notes {
        if said.insert((path.into(), note.clone())) {
            tracing::info!("{}: {note}", path.display());
        }
    }
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
            .take(MOST_BYTES + 1)
            .read_to_end(&mut plain)
            .map_err(|source| DataError::Gzip {
                path: path.into(),
                source,
            })?;
        bytes = plain;
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(DataError::TooLong { path: path.into() });
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(DataError::Utf16 { path: path.into() });
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

    /// Gives every column mean 0 and population standard deviation 1; a column that is constant but for rounding becomes 0.
    /// Targets stay.
    pub fn standardize(&mut self) {
        for column in 0..self.columns {
            let (unit, mean, deviation) = self.moments(column);
            for value in self.features.iter_mut().skip(column).step_by(self.columns) {
                *value = if deviation > CONSTANT {
                    (*value / unit - mean) / deviation
                } else {
                    0.0
                };
            }
        }
    }

    /// Whether a column is constant but for rounding.
    pub fn is_constant(&self, column: usize) -> bool {
        let (.., deviation) = self.moments(column);
        // A column of zeros has no unit: NaN.
        deviation.is_nan() || deviation <= CONSTANT
    }

    /// The largest size of a column's entries; mean and population standard deviation in units of it, in which nothing overflows
    /// and a constant column is exactly ±1 with deviation 0.
    fn moments(&self, column: usize) -> (f64, f64, f64) {
        let rows = self.rows as f64;
        let values = || self.features.iter().skip(column).step_by(self.columns);
        let unit = values().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let mean = values().map(|value| value / unit).sum::<f64>() / rows;
        let squares = values().map(|value| (value / unit - mean).powi(2));
        (unit, mean, (squares.sum::<f64>() / rows).sqrt())
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
            name: self.name.clone(),
            features: drawn.iter().flat_map(|&i| self.row(i)).copied().collect(),
            rows: self.rows,
            columns: self.columns,
            targets: drawn.iter().map(|&i| self.targets[i]).collect(),
            notes: self.notes.clone(),
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
            notes: Vec::new(),
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
            for (name, bytes) in [("t.csv", text.as_bytes()), ("t.csv.gz", &gzip(text))] {
                let mut found = read_bytes(name, bytes).unwrap();
                found.notes.clear();
                assert_eq!(found, expected, "{text:?}");
            }
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
                format!("t.csv, line 3, column 2: found `NaN`, {number}; drop or fill rows with missing values"),
            ),
            (
                "t.csv",
                "1,2\n\n# c\n3,\n",
                format!("t.csv, line 4, column 2: found ``, {number}; drop or fill rows with missing values"),
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
                format!("t.csv, line 1, column 2: found `oops`, {number} (`header: true` if this line holds names)"),
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
                "t.svm, line 1, column 3: found `3:1`, expected an index above 5; sort the entries of the line by index".into(),
            ),
            (
                "t.svm",
                "1 5:1 5:1\n",
                "t.svm, line 1, column 3: found `5:1`, expected an index above 5; sort the entries of the line by index".into(),
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

    /// What a file with two ways to read it gives with `columns`: the table, or the message without the folder.
    fn as_columns(text: &str, columns: Columns) -> Result<(Vec<f64>, Vec<f64>), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, text).unwrap();
        let set = read_as(&path, &columns).map_err(|e| e.to_string())?;
        Ok((set.features, set.targets))
    }

    #[test]
    fn csv_that_can_be_read_in_two_ways() {
        let header = |header| Columns {
            header: Some(header),
            ..Columns::default()
        };
        let skip = |skip: &[Column]| Columns {
            skip: Some(skip.to_vec()),
            ..Columns::default()
        };
        let target = |column| Columns {
            target: Some(column),
            ..Columns::default()
        };
        let name = |name: &str| Column::Name(name.into());
        let read = |text: &str, columns| as_columns(text, columns).unwrap();
        let refused = |text: &str, columns, words: &[&str]| {
            let message = as_columns(text, columns).unwrap_err();
            for word in words {
                assert!(message.contains(word), "{text:?}: {message}");
            }
        };
        let plain = Columns::default;

        // pandas: DataFrame(array).to_csv(index=False), and with the index.
        let array = "0,1,2,3\n0.5,1.5,2.5,1\n3.5,4.5,5.5,2\n";
        let rows = (vec![0.5, 1.5, 2.5, 3.5, 4.5, 5.5], vec![1.0, 2.0]);
        assert_eq!(read(array, plain()), rows);
        assert_eq!(read(array, header(false)).1, [3.0, 1.0, 2.0]);
        // Fewer columns may count by chance.
        refused(
            "0,1\n0.1,1.105\n0.2,1.2\n",
            plain(),
            &["line 1", "header: false"],
        );
        assert_eq!(read("0,1\n0.1,1.105\n", header(false)).1, [1.0, 1.105]);
        let rows = (vec![0.5, 1.5, 3.5, 4.5], vec![2.5, 5.5]);
        let indexed = ",0,1,2\n0,0.5,1.5,2.5\n1,3.5,4.5,5.5\n";
        assert_eq!(read(indexed, plain()), rows);
        assert_eq!(read(indexed, skip(&[])).0, [0.0, 0.5, 1.5, 1.0, 3.5, 4.5]);
        assert_eq!(read(&indexed.replace(",0,1,2", ",a,b,y"), plain()), rows);
        // Whole numbers below: both ways are as good.
        refused(
            "0,1,2\n3,4,5\n6,7,8\n",
            plain(),
            &["line 1", "header: true", "header: false"],
        );
        refused("0,1\n", plain(), &["header: true"]);

        // A series has nothing but its index.
        refused(",y\n0,1.5\n1,2.5\n", plain(), &["no features"]);
        refused(
            "id,a,y\n842302,1,2\n842517,4,5\n",
            plain(),
            &["`id`", "skip: [0]"],
        );
        // An index that is not surely one.
        refused(
            ",a,y\n7,1,2\n3,4,5\n",
            plain(),
            &["no name", "skip: [0]", "skip: []"],
        );
        refused("id,a,y\n0,1,2\n1,4,5\n", plain(), &["`id`", "skip: [0]"]);
        assert_eq!(
            read("id,a,y\n0,1,2\n1,4,5\n", skip(&[name("id")])),
            (vec![1., 4.], vec![2., 5.])
        );
        let counted: String = (0..9).map(|k| format!("{k},{}.5,1\n", k * k)).collect();
        refused(
            &counted,
            plain(),
            &["no header", "counts the rows", "skip: [0]"],
        );
        assert_eq!(read(&counted, skip(&[])).0.len(), 18);

        // A target that is not the last column.
        let first = "y,a,b\n1,2,3\n4,5,6\n";
        refused(first, plain(), &["`y`", "target: \"y\"", "target: \"b\""]);
        assert_eq!(
            read(first, target(name("y"))),
            (vec![2., 3., 5., 6.], vec![1., 4.])
        );
        assert_eq!(read(first, target(Column::Index(2))).1, [3., 6.]);
        refused(first, target(name("z")), &["no column \"z\"", "\"a\""]);
        refused("1,2\n3,4\n", target(name("z")), &["without names"]);
        refused("1,2\n3,4\n", target(Column::Index(2)), &["no column 2"]);

        // Names twice, names that are numbers, two targets, an id for a target.
        let twice = "a,a,b\n1,2,3\n4,5,6\n";
        refused(twice, target(name("a")), &["several of that name"]);
        assert_eq!(read(twice, target(Column::Index(0))).1, [1., 4.]);
        let numbered = Columns {
            header: Some(true),
            ..target(Column::Index(1))
        };
        refused("1,a,y\n0.5,2,3\n", numbered, &["named \"1\""]);
        refused("a,y,label\n1,2,3\n4,5,6\n", plain(), &["`y`", "`label`"]);
        refused(
            "a,b,id\n1,2,3\n4,5,6\n",
            plain(),
            &["`id`", "skip: [\"id\"]"],
        );
        // Years over measurements, and an index of floats.
        let years = "2019,2020,2021\n0.5,1.5,2.5\n1.5,0.1,0.2\n2.5,0.3,0.4\n";
        refused(years, plain(), &["line 1", "header: true"]);
        assert_eq!(read(years, header(true)).1, [2.5, 0.2, 0.4]);
        assert_eq!(
            read(",a,y\n0.0,1,2\n1.0,4,5\n", plain()),
            (vec![1., 4.], vec![2., 5.])
        );
        refused("1;2;3\n4;5;6\n", plain(), &["separated by commas"]);

        // A first row of marks or of damaged numbers is no header.
        for row in ["NA,NA,NA", "?,?,?", "1.0x,0.5x,2x", "nan,a,b"] {
            refused(&format!("{row}\n1,2,3\n"), plain(), &["line 1"]);
        }
        assert_eq!(read("NA,b,y\n1,2,3\n", header(true)).1, [3.0]);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.svm");
        fs::write(&path, "1 1:2\n").unwrap();
        let message = read_as(&path, &header(true)).unwrap_err().to_string();
        assert!(message.contains("header is for .csv"), "{message}");
    }

    #[test]
    fn huge_indices_and_archives_are_refused() {
        let message = message("t.svm", b"1 200000000:1\n");
        assert!(
            message.contains("line 1") && message.contains("for 1 entries"),
            "{message}"
        );
        // Sixteen million numbers are held, however empty.
        assert!(read_bytes("t.svm", b"1 10000000:1\n").is_ok());
        let utf16 = read_bytes("t.csv", &[0xff, 0xfe, b'1', 0]).unwrap_err();
        assert!(utf16.to_string().contains("UTF-16"));
    }

    #[test]
    fn columns_that_are_constant_but_for_rounding_become_zero() {
        let third = 1.0 / 3.0;
        let mut data = dataset(
            2,
            &[0.1 + 0.2, third, 0.3, third + 1e-9, 0.3, third],
            &[1., 2., 3.],
        );
        assert!(data.is_constant(0) && !data.is_constant(1));
        data.standardize();
        assert_eq!([data.row(0)[0], data.row(1)[0], data.row(2)[0]], [0.0; 3]);
        assert!(
            (data.row(1)[1] - 2f64.sqrt()).abs() < 1e-5,
            "{:?}",
            data.row(1)
        );
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
