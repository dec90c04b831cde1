//! The modules stand on one arrow: each imports only what `src/lib.rs` lists before it, and only the command line imports `train`.

use std::fs;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The modules in the order of the numbered list that opens `src/lib.rs`.
fn order() -> Vec<String> {
    let library = read(&source().join("lib.rs"));
    let mut declared: Vec<_> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let numbered = library.lines().filter(|line| {
        let item = line.trim_start_matches("//! ");
        item.starts_with(|c: char| c.is_ascii_digit())
    });
    // What stands between backticks and is a module.
    let listed: Vec<_> = numbered
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|name| declared.contains(name))
        .map(String::from)
        .collect();
    let mut sorted = listed.clone();
    sorted.sort();
    declared.sort();
    assert_eq!(sorted, declared, "src/lib.rs lists its modules in order");
    listed
}

/// The files of a module: `name.rs`, or everything in the folder `name`.
fn files(module: &str) -> Vec<PathBuf> {
    let mut open = vec![source().join(module)];
    let mut files = vec![source().join(format!("{module}.rs"))];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.retain(|file| file.is_file());
    assert!(!files.is_empty(), "no file for the module {module}");
    files
}

/// Lines of code with their numbers: without comments and without the tests, which stand last in a file.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = read(path);
    (1..)
        .zip(text.lines())
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .map(|(number, line)| {
            let line = line.split("//").next().unwrap_or_default();
            (number, line.to_string())
        })
        .collect()
}

/// The names that follow `prefix` in a line, those of a group `{a, b}` included.
fn imported<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    let name = |text: &'a str| {
        let end = text
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(text.len());
        &text[..end]
    };
    line.match_indices(prefix)
        .flat_map(|(at, _)| {
            let rest = &line[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(group) => group.split(',').map(str::trim).map(name).collect(),
                None => vec![name(rest)],
            }
        })
        .collect()
}

#[test]
fn modules_import_only_what_stands_before_them() {
    let order = order();
    let mut wrong = Vec::new();
    for (place, module) in order.iter().enumerate() {
        for file in files(module) {
            // From the module's own file `super` is the crate; from a file in its folder `super::super` is.
            let folder = source().join(module);
            let root = file.parent() == Some(&source()) || file == folder.join("mod.rs");
            let up = if root { "super::" } else { "super::super::" };
            for (number, line) in code(&file) {
                for prefix in ["crate::", up] {
                    for name in imported(&line, prefix) {
                        let before = order[..=place].iter().any(|m| m == name);
                        let alone = module == "report" && !["files", "report"].contains(&name);
                        if !before || alone {
                            wrong.push(format!("{}:{number}: {name}", file.display()));
                        }
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports against the arrow {order:?}:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn only_the_command_line_imports_train() {
    assert_eq!(order().last().unwrap(), "train");
    let library = order().into_iter().filter(|module| module != "train");
    let all = library.flat_map(|module| files(&module));
    for file in all.chain([source().join("main.rs"), source().join("lib.rs")]) {
        for (number, line) in code(&file) {
            let found =
                imported(&line, "crate::").contains(&"train") || line.contains("starling::train");
            assert!(!found, "{}:{number}: {line}", file.display());
        }
    }
}
