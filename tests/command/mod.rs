//! Typing commands as a user does: every test has a folder of its own, with the cache of optima in it.

// Every test file is a crate of its own and uses its share.
#![allow(dead_code)]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use tempfile::TempDir;

/// A file of the repository.
pub fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    path.to_string_lossy().into_owned()
}

/// A folder to work in.
pub struct Desk(TempDir);

impl Desk {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// All files below `folder`, hidden ones and half-written ones included, without the cache of optima; in order.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let mut open = vec![self.path(folder)];
        let mut files = Vec::new();
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.0.path()).unwrap();
                if path.is_dir() && name != Path::new("cache") {
                    open.push(path);
                } else if !path.is_dir() {
                    files.push(name.to_string_lossy().into_owned());
                }
            }
        }
        files.sort();
        files
    }

    /// `starling ARGUMENTS`, to be run in the folder.
    pub fn typed(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("starling"));
        command
            .current_dir(self.0.path())
            .env("STARLING_CACHE", self.path("cache"))
            .env_remove("RUST_LOG")
            .args(arguments);
        command
    }

    /// Runs to success; the output.
    pub fn succeeds(&self, arguments: &[&str]) -> Output {
        let output = self.typed(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "starling {arguments:?}: {:?}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// Runs to success with `--json`; the objects on standard output, one a line and nothing else.
    pub fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.succeeds(&[arguments, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let object = |line| {
            let value: Value = serde_json::from_str(line)
                .unwrap_or_else(|e| panic!("starling {arguments:?}: {e} in {line}"));
            assert!(value.is_object(), "{line}");
            value
        };
        text.lines().map(object).collect()
    }

    /// Bad input: exit code 2, a message with all of `words` on standard error, nothing on standard output, no panic, and
    /// no file more or less than before.
    pub fn refuses(&self, arguments: &[&str], words: &[&str]) {
        let before = self.files("");
        let output = self.typed(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        let said = format!("starling {arguments:?}: {:?}\n{message}", output.status);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let named = message.lines().any(|line| line.starts_with("error: "));
        assert!(named, "{said}");
        assert!(!message.contains("panicked"), "{said}");
        for word in words {
            assert!(message.contains(word), "expected `{word}`: {said}");
        }
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{said}");
        assert_eq!(self.files(""), before, "{said}");
    }
}

/// Ctrl-C.
pub fn interrupt(child: &Child) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status();
    assert!(sent.unwrap().success());
}

/// Whether the object has all of these fields.
pub fn has_fields(object: &Value, fields: &[&str]) {
    for field in fields {
        assert!(object.get(field).is_some(), "no `{field}` in {object}");
    }
}
