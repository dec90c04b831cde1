//! Text in RON, as people write it: graphs, problems, algorithms, recipes, suites.

/// A malformed RON text.
#[derive(Debug, thiserror::Error)]
#[error("{origin}:{line}:{column}: {reason} in `{excerpt}`")]
pub struct SpecError {
    /// What was parsed: an option or a file.
    pub origin: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What the parser expected.
    pub reason: String,
    /// The line itself, shortened.
    pub excerpt: String,
}

/// Parses RON text of any kind; `origin` names where it comes from.
///
/// # Errors
/// Line, column and what was expected.
pub fn parse_ron<T: serde::de::DeserializeOwned>(origin: &str, text: &str) -> Result<T, SpecError> {
    use ::ron::extensions::Extensions;
    // `Some` may be left out; a variant that holds a struct is written as if it had its fields: `ProxEd(step: 0.03)`.
    let extensions = Extensions::IMPLICIT_SOME | Extensions::UNWRAP_VARIANT_NEWTYPES;
    let options = ::ron::Options::default().with_default_extension(extensions);
    options
        .from_str(text)
        .map_err(|e: ::ron::error::SpannedError| {
            let line = e.span.start.line;
            let excerpt: String = text
                .lines()
                .nth(line.saturating_sub(1))
                .unwrap_or("")
                .trim()
                .chars()
                .take(80)
                .collect();
            SpecError {
                origin: origin.into(),
                line,
                column: e.span.start.col,
                reason: e.code.to_string(),
                excerpt,
            }
        })
}
