//! The list of data sets in a folder: where each comes from, under which licence, and how to tell that it is intact.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{DataError, read};

/// What the targets are.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Real numbers.
    Regression,
    /// Class labels.
    Classification,
}

/// One data set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    /// Relative to the manifest's folder.
    pub file: String,
    pub rows: usize,
    pub columns: usize,
    pub task: Task,
    /// Each label with its meaning, ascending; empty for a regression.
    pub classes: Vec<(f64, String)>,
    pub source: String,
    pub licence: String,
    pub citation: String,
    /// Of the file as it lies there, in lower-case hexadecimal.
    pub sha256: String,
}

/// The data sets of a folder, from its `manifest.ron`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(transparent)]
pub struct Manifest {
    pub entries: Vec<Entry>,
}

/// Reads `manifest.ron` in `dir`.
///
/// # Errors
/// A missing file; malformed RON, with line and column.
pub fn load(dir: &Path) -> Result<Manifest, DataError> {
    let path = dir.join("manifest.ron");
    let text = fs::read_to_string(&path).map_err(|source| DataError::Read {
        path: path.clone(),
        source,
    })?;
    ron::from_str(&text).map_err(|error| DataError::Manifest {
        path,
        source: error.into(),
    })
}

impl Manifest {
    /// Checks every file in `dir` against its entry: SHA-256, shape and classes.
    ///
    /// # Errors
    /// The first file that cannot be read or that differs.
    pub fn verify(&self, dir: &Path) -> Result<(), DataError> {
        self.entries.iter().try_for_each(|entry| entry.verify(dir))
    }
}

impl Entry {
    /// Checks the file in `dir` against this entry; see [`Manifest::verify`].
    pub fn verify(&self, dir: &Path) -> Result<(), DataError> {
        let path = dir.join(&self.file);
        let check = |what, found: String, expected: String| {
            if found == expected {
                return Ok(());
            }
            Err(DataError::Mismatch {
                path: path.clone(),
                what,
                found,
                expected,
            })
        };
        let bytes = fs::read(&path).map_err(|source| DataError::Read {
            path: path.clone(),
            source,
        })?;
        let digest = Sha256::digest(&bytes);
        let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        check("SHA-256", sha256, self.sha256.clone())?;

        let data = read(&path)?;
        let shape = |rows, columns| format!("{rows} rows × {columns} columns");
        check(
            "shape",
            shape(data.rows, data.columns),
            shape(self.rows, self.columns),
        )?;
        if self.task == Task::Classification {
            let labels: Vec<f64> = self.classes.iter().map(|(label, _)| *label).collect();
            check(
                "set of classes",
                format!("{:?}", data.classes()),
                format!("{labels:?}"),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datasets() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/datasets"))
    }

    #[test]
    fn shipped_sets_are_as_the_manifest_says() {
        let manifest = load(datasets()).unwrap();
        manifest.verify(datasets()).unwrap();
        for name in [
            "diabetes",
            "breast_cancer",
            "ionosphere",
            "sonar",
            "spambase",
            "digits",
        ] {
            let entry = manifest
                .entries
                .iter()
                .find(|entry| entry.name == name)
                .unwrap();
            assert!(
                !entry.licence.is_empty() && !entry.source.is_empty() && !entry.citation.is_empty()
            );
            let mut data = read(&datasets().join(&entry.file)).unwrap();
            assert_eq!(data.name, name);
            let is_binary = entry.classes.len() == 2;
            let targets = data.targets.clone();
            assert_eq!(data.binary_targets().is_ok(), is_binary);
            assert_eq!(data.targets, targets, "binary sets ship with −1 and +1");
        }
        // Nothing lies there that the manifest does not list.
        let listed = |file: &str| manifest.entries.iter().any(|entry| entry.file == file);
        for file in fs::read_dir(datasets()).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            assert!(!file.ends_with(".gz") || listed(&file), "{file}");
        }
    }

    #[test]
    fn verify_names_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t.csv"), "1,2\n3,4\n").unwrap();
        let entry = Entry {
            name: "t".into(),
            file: "t.csv".into(),
            rows: 2,
            columns: 1,
            task: Task::Classification,
            classes: vec![(2.0, "two".into()), (4.0, "four".into())],
            source: String::new(),
            licence: String::new(),
            citation: String::new(),
            // printf '1,2\n3,4\n' | sha256sum
            sha256: "96bbd5de61f36b0e10c5771d180998d066192e8986aa34a8cb7c453f62959274".into(),
        };
        entry.verify(folder.path()).unwrap();
        let message = |entry: Entry| {
            let manifest = Manifest {
                entries: vec![entry],
            };
            manifest.verify(folder.path()).unwrap_err().to_string()
        };
        let other = || entry.clone();
        assert!(
            message(Entry {
                sha256: "00".into(),
                ..other()
            })
            .ends_with("but the manifest says 00")
        );
        assert!(message(Entry { rows: 3, ..other() }).ends_with(
            "the shape is 2 rows × 1 columns, but the manifest says 3 rows × 1 columns"
        ));
        assert!(
            message(Entry {
                classes: vec![],
                ..other()
            })
            .ends_with("the set of classes is [2.0, 4.0], but the manifest says []")
        );
        assert!(
            message(Entry {
                file: "u.csv".into(),
                ..other()
            })
            .contains("u.csv: cannot be read")
        );
    }

    #[test]
    fn malformed_manifest_is_rejected_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path()).is_err());
        fs::write(folder.path().join("manifest.ron"), "[\n    (name: 3),\n]\n").unwrap();
        let message = load(folder.path()).unwrap_err().to_string();
        assert!(message.contains("manifest.ron:2:"), "{message}");
    }
}
