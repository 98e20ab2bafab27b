//! Names of resources.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::invalid::{Field, Invalid};
use crate::limits::NAME_MAX_BYTES;

/// The name of a resource: 1 to 255 bytes of UTF-8 without control characters. `/` separates levels, and no level is
/// empty, `.` or `..`, so that a name is also a safe relative path. Cheap to clone; ordered bytewise.
#[derive(Clone)]
pub struct Name(Text);

/// So many bytes fit into the place that a [`Name`] has anyway.
const SHORT_MAX: usize = 22;

/// A short name stands in its place itself: whoever looks for one among many compares it with dozens, and each that stands
/// elsewhere would have to be fetched.
#[derive(Clone)]
enum Text {
    Short { length: u8, bytes: [u8; SHORT_MAX] },
    Long(Arc<str>),
}

impl Text {
    fn new(text: &str) -> Self {
        let mut bytes = [0; SHORT_MAX];
        match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(length), Some(place)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Short { length, bytes }
            }
            _ => Self::Long(text.into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(text) => text.as_bytes(),
        }
    }
}

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
            None => Ok(Self(Text::new(text))),
        }
    }

    /// Where a listing by `prefix` begins. Not necessarily a valid name.
    pub(crate) fn lower_bound(prefix: &str) -> Self {
        Self(Text::new(prefix))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // It was a text when it was put there.
            Text::Short { .. } => std::str::from_utf8(self.0.as_bytes()).unwrap_or_default(),
            Text::Long(text) => text,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes() == other.0.as_bytes()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_bytes().cmp(other.0.as_bytes())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_bytes().hash(state);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Name").field(&self.as_str()).finish()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
    fn names_are_ordered_bytewise_however_long() {
        let texts = ["a", "b", "é", &"b".repeat(SHORT_MAX), &"b".repeat(SHORT_MAX + 1), &"a".repeat(100)];
        for (one, other) in texts.iter().flat_map(|one| texts.iter().map(move |other| (*one, *other))) {
            let names = [one, other].map(|text| Name::parse(text).unwrap());
            assert_eq!(names[0].cmp(&names[1]), one.cmp(other), "{one} and {other}");
            assert_eq!(names[0] == names[1], one == other);
            assert_eq!(names[0].as_str(), one);
        }
        assert_eq!(size_of::<Name>(), SHORT_MAX + 2);
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
