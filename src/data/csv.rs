//! Comma-separated numbers: one row per line; `#` starts a comment line.
//!
//! The target stands in the last column and a first line of names is a header, unless [`Columns`] says otherwise. Where a file can
//! be read in two ways it is refused with the option that settles it, or the choice is noted: a header taken for data, or an
//! index taken for a feature, would give wrong numbers in silence.

use std::collections::BTreeSet;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{Column, Columns, DataError, Place, Table};

/// Names that say that a column is the target.
const TARGETS: [&str; 6] = ["target", "label", "y", "class", "response", "outcome"];
/// Names that say that a column which counts the rows is an index.
const INDICES: [&str; 6] = ["", "unnamed: 0", "index", "id", "row", "rownames"];
/// Fewer columns than this may count from 0 by chance.
const COUNTING_COLUMNS: usize = 4;
/// Fewer rows than this in a row may count from 0 or 1 by chance.
const COUNTING_ROWS: usize = 8;

/// Whether a field is what tools write in place of a missing number.
fn is_missing(field: &str) -> bool {
    let marks = ["", "?", "-", "na", "n/a", "nan", "null", "none", "missing"];
    marks.contains(&field.to_lowercase().as_str())
}

/// Whether a field reads as a column's name: it begins with a letter and stands for no missing number.
fn is_name(field: &str) -> bool {
    let first = field.chars().next();
    first.is_some_and(|c| c.is_alphabetic() || c == '_') && !is_missing(field)
}

fn is_number(field: &str) -> bool {
    field.parse::<f64>().is_ok()
}

/// Whether the fields are `0, 1, 2, …` as pandas names the columns of an array.
fn counts(fields: &[&str]) -> bool {
    let mut each = fields.iter().enumerate();
    each.all(|(k, field)| *field == k.to_string())
}

/// A line of the file: its number and its fields.
struct Line {
    number: u64,
    fields: StringRecord,
}

/// The lines with their fields, all of the same length.
fn lines(text: &str, path: &Path) -> Result<Vec<Line>, DataError> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let mut lines: Vec<Line> = Vec::new();
    let mut record = StringRecord::new();
    // The text is in memory and is UTF-8, so the reader has no error of its own left.
    while reader.read_record(&mut record).unwrap_or(false) {
        let number = line_number(&record, text);
        if let Some(first) = lines.first()
            && record.len() != first.fields.len()
        {
            return Err(DataError::Ragged {
                path: path.into(),
                line: number,
                found: record.len(),
                expected: first.fields.len(),
            });
        }
        lines.push(Line {
            number,
            fields: record.clone(),
        });
    }
    Ok(lines)
}

/// The line on which the record starts. Its position stands before the blank and comment lines that the reader skipped.
fn line_number(record: &StringRecord, text: &str) -> u64 {
    let Some(position) = record.position() else {
        return 0;
    };
    let skipped = text[position.byte() as usize..]
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with('#'));
    position.line() + skipped.count() as u64
}

/// Whether line 1 is a header, by its look; where that leaves two ways, an error.
fn is_header(lines: &[Line], path: &Path, notes: &mut Vec<String>) -> Result<bool, DataError> {
    let Some((first, rest)) = lines.split_first() else {
        return Ok(false);
    };
    let doubt = |what: String| {
        Err(DataError::Ambiguous {
            path: path.into(),
            line: first.number,
            what,
            cure: "`header: true` if the line holds names, `header: false` if it holds data (repair it there)".into(),
        })
    };
    let fields: Vec<&str> = first.fields.iter().collect();
    // pandas leaves the name of its index empty.
    let indexed = fields[0].is_empty() && fields.len() > 1;
    let named = if indexed { &fields[1..] } else { &fields[..] };
    if counts(named) && named.len() > 1 {
        let skipped = fields.len() - named.len();
        let is_integer = |line: &Line| {
            let mut below = line.fields.iter().skip(skipped);
            below.all(|field| field.parse::<i64>().is_ok())
        };
        // A few numbers may count by chance, and rows of whole numbers look alike.
        let by_chance = named.len() < COUNTING_COLUMNS && !indexed;
        if by_chance || rest.iter().all(is_integer) {
            return doubt(format!(
                "it holds 0 to {}: a header of numbers, or a row of data?",
                named.len() - 1
            ));
        }
        notes.push(format!(
            "line {} counts the columns from 0 and was taken for a header (`header: false` reads it as data)",
            first.number
        ));
        return Ok(true);
    }
    if named.iter().any(|field| is_number(field)) {
        // Years, say, over measurements.
        let is_integer = |field: &str| field.parse::<i64>().is_ok();
        let distinct = named.iter().collect::<BTreeSet<_>>().len() == named.len();
        let mostly_not = |k: usize| {
            let whole = rest
                .iter()
                .filter(|line| is_integer(&line.fields[k]))
                .count();
            2 * whole < rest.len()
        };
        let all = named.iter().all(|field| is_integer(field));
        if all && distinct && named.len() > 1 && rest.len() > 2 && (0..fields.len()).all(mostly_not)
        {
            return doubt("it holds whole numbers over rows that do not: a header of numbers, or a row of data?".into());
        }
        return Ok(false);
    }
    match named.iter().find(|field| !is_name(field)) {
        None => Ok(true),
        Some(field) => doubt(format!(
            "no field is a number, and `{field}` does not read as a name: a header, or a damaged row?"
        )),
    }
}

impl Column {
    /// Its number, from 0.
    fn find(&self, names: Option<&[&str]>, count: usize, path: &Path) -> Result<usize, DataError> {
        let named = |name: &str| -> Vec<usize> {
            let all = names.unwrap_or_default().iter().enumerate();
            all.filter(|(_, n)| **n == name).map(|(k, _)| k).collect()
        };
        let refused = |found: String| {
            Err(DataError::NoColumn {
                path: path.into(),
                column: self.to_string(),
                found,
            })
        };
        let found = match self {
            Column::Index(index) => {
                // A column may be called by a number.
                if named(&index.to_string()).iter().any(|k| k != index) {
                    return refused(format!(
                        "column {index} and another that is named \"{index}\"; expected the number of a column that is not meant by name"
                    ));
                }
                (*index < count).then_some(*index)
            }
            Column::Name(name) => match named(name)[..] {
                [k] => Some(k),
                [] => None,
                _ => return refused("several of that name; expected a number from 0".into()),
            },
        };
        found.ok_or_else(|| DataError::NoColumn {
            path: path.into(),
            column: self.to_string(),
            found: match names {
                Some(all) => format!("{count} columns: {}", shown(all)),
                None => format!("{count} columns without names, counted from 0"),
            },
        })
    }
}

/// The first names of a header.
fn shown(names: &[&str]) -> String {
    let some: Vec<String> = names.iter().take(12).map(|n| format!("{n:?}")).collect();
    let more = if names.len() > 12 { ", …" } else { "" };
    some.join(", ") + more
}

/// Row-major features and targets of the rows in `text`; `path` serves the messages.
pub(super) fn parse(
    text: &str,
    path: &Path,
    columns: &Columns,
    notes: &mut Vec<String>,
) -> Result<Table, DataError> {
    let lines = lines(text, path)?;
    let Some(width) = lines.first().map(|line| line.fields.len()) else {
        return Ok((Vec::new(), Vec::new()));
    };
    if let (1, Some(field)) = (width, lines[0].fields.get(0))
        && field.contains([';', '\t'])
    {
        let place = Place {
            path,
            line: lines[0].number,
            column: 1,
        };
        return Err(place.error(field, "fields separated by commas; replace the separator"));
    }
    let header = match columns.header {
        Some(given) => given,
        None => is_header(&lines, path, notes)?,
    };
    let first: Vec<&str> = lines[0].fields.iter().collect();
    let (names, rows) = match header {
        true => (Some(&first[..]), &lines[1..]),
        false => (None, &lines[..]),
    };
    let mut skip = Vec::new();
    match &columns.skip {
        Some(given) => {
            for column in given {
                skip.push(column.find(names, width, path)?);
            }
        }
        None if index_like(names, rows, width, path)? => {
            notes.push(
                "the first column has no name and counts the rows: taken for an index and left out (`skip: []` keeps it)".into(),
            );
            skip.push(0);
        }
        None => {}
    }
    let kept: Vec<usize> = (0..width).filter(|k| !skip.contains(k)).collect();
    let target = match (&columns.target, kept.last()) {
        (Some(column), _) => {
            let target = column.find(names, width, path)?;
            if skip.contains(&target) {
                return Err(DataError::NoColumn {
                    path: path.into(),
                    column: column.to_string(),
                    found: "it among the skipped columns".into(),
                });
            }
            target
        }
        (None, Some(&last)) => {
            if let Some(names) = names {
                let is = |k: usize, list: &[&str]| list.contains(&names[k].to_lowercase().as_str());
                let other = kept.iter().find(|&&k| k != last && is(k, &TARGETS));
                let doubt = match other {
                    Some(&other) => Some((
                        format!(
                            "column {other} is named `{}`, but the last column, `{}`, would be the target",
                            names[other], names[last]
                        ),
                        format!(
                            "`target: {:?}` or `target: {:?}`",
                            names[other], names[last]
                        ),
                    )),
                    None if is(last, &INDICES) => Some((
                        format!(
                            "the last column is named `{}` and would be the target",
                            names[last]
                        ),
                        format!(
                            "`target: {:?}` if it is, else `skip: [{:?}]`",
                            names[last], names[last]
                        ),
                    )),
                    None => None,
                };
                if let Some((what, cure)) = doubt {
                    return Err(DataError::Ambiguous {
                        path: path.into(),
                        line: lines[0].number,
                        what,
                        cure,
                    });
                }
            }
            last
        }
        (None, None) => return Err(DataError::NoFeatures { path: path.into() }),
    };
    if columns.target.is_some() || header {
        let name = names.map_or(String::new(), |names| format!(" `{}`", names[target]));
        notes.push(format!("target: column {target}{name}"));
    }
    let (mut features, mut targets) = (Vec::new(), Vec::new());
    for line in rows {
        for &k in &kept {
            let place = Place {
                path,
                line: line.number,
                column: k + 1,
            };
            let field = line.fields.get(k).unwrap_or_default();
            let number = place.finite(field).map_err(|error| {
                let names = first.iter().any(|f| is_name(f));
                match (is_missing(field), line.number == lines[0].number && names) {
                    (true, _) => place.error(
                        field,
                        "a finite number; drop or fill rows with missing values",
                    ),
                    (_, true) => place.error(
                        field,
                        "a finite number (`header: true` if this line holds names)",
                    ),
                    _ => error,
                }
            })?;
            if k == target {
                targets.push(number);
            } else {
                features.push(number);
            }
        }
    }
    Ok((features, targets))
}

/// Whether the first column is surely an index: it has no name and counts the rows.
///
/// # Errors
/// A first column that may be one: it counts the rows, has no name, or a name that says so.
fn index_like(
    names: Option<&[&str]>,
    rows: &[Line],
    width: usize,
    path: &Path,
) -> Result<bool, DataError> {
    let from = |start: usize| {
        let mut each = rows.iter().enumerate();
        each.all(|(k, line)| line.fields[0].parse() == Ok((k + start) as f64))
    };
    let counting = !rows.is_empty() && (from(0) || from(1));
    let name = names.map(|names| names[0].to_lowercase());
    let unnamed = name
        .as_deref()
        .is_some_and(|n| n.is_empty() || n == "unnamed: 0");
    if unnamed && counting {
        return Ok(true);
    }
    let suspect = match &name {
        Some(name) => INDICES.contains(&name.as_str()),
        // Two columns without a header: a feature that counts, as in a series over time, and its target.
        None => counting && rows.len() >= COUNTING_ROWS && width > 2,
    };
    if suspect {
        let called = match name.as_deref() {
            Some("") => "the first column has no name".into(),
            Some(name) => format!("the first column is named `{name}`"),
            None => "the file has no header".into(),
        };
        let counts = if counting {
            " and the first column counts the rows"
        } else {
            ""
        };
        return Err(DataError::Ambiguous {
            path: path.into(),
            line: rows.first().map_or(1, |line| line.number),
            what: format!("{called}{counts}: an index, or a feature?"),
            cure: "`skip: [0]` leaves it out, `skip: []` keeps it".into(),
        });
    }
    Ok(false)
}
