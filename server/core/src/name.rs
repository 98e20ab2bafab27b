//! Names of resources.

use std::fmt;
use std::sync::Arc;

use crate::invalid::{Field, Invalid};
use crate::limits::NAME_MAX_BYTES;

/// The name of a resource: 1 to 255 bytes of UTF-8 without control characters. `/` separates levels, and no level is
/// empty, `.` or `..`, so that a name is also a safe relative path. Cheap to clone; ordered bytewise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| Err(Invalid::new(Field::Name, why));
        if text.is_empty() || text.len() > NAME_MAX_BYTES {
            let length = if text.is_empty() { "empty" } else { "too long" };
            return wrong(&format!("the name is {length}; it must have 1 to {NAME_MAX_BYTES} bytes of UTF-8"));
        }
        if text.chars().any(char::is_control) {
            return wrong("the name has a control character");
        }
        match text.split('/').find(|level| matches!(*level, "" | "." | "..")) {
            Some("") => wrong("the name has an empty level: `/` stands only between two levels"),
            Some(_) => wrong("the name has a level `.` or `..`, which are not allowed"),
            None => Ok(Self(text.into())),
        }
    }

    /// Where a listing by `prefix` begins. Not necessarily a valid name.
    pub(crate) fn lower_bound(prefix: &str) -> Self {
        Self(prefix.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_people_use() {
        for good in ["a", "jobs/nightly", "Zürich 🔒", "..a", "a..b/c.", &"x".repeat(255), "a b:c@d#e?f%g"] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn refuses_the_rest() {
        let long = "x".repeat(256);
        for bad in
            ["", "/", "/a", "a/", "a//b", ".", "..", "a/./b", "a/..", "a\n", "\u{0}", "\u{7f}", "a\u{85}b", &long]
        {
            assert_eq!(Name::parse(bad).unwrap_err().field, Field::Name, "{bad:?}");
        }
    }
}
