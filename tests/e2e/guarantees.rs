//! What docs/guarantees.md says is shown by a test, is: the tests that it names are there.

use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../../docs/guarantees.md");

/// A module of tests, as it is written.
struct Module {
    text: String,
    /// Where its own modules are.
    folder: PathBuf,
}

impl Module {
    /// The root of a target of this package.
    fn target(name: &str) -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = ["tests.rs", "main.rs"].iter().find_map(|root| fs::read_to_string(folder.join(root)).ok())?;
        Some(Self { text, folder })
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map(str::trim)
    }

    fn child(&self, name: &str) -> Option<Self> {
        self.lines().find(|line| *line == format!("mod {name};"))?;
        let folder = self.folder.join(name);
        let places = [folder.with_extension("rs"), folder.join("mod.rs")];
        let text = places.iter().find_map(|place| fs::read_to_string(place).ok())?;
        Some(Self { text, folder })
    }

    /// The functions that are tests.
    fn tests(&self) -> impl Iterator<Item = &str> {
        let after_attribute = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let mut lines = self.lines();
        std::iter::from_fn(move || {
            lines.by_ref().find(after_attribute)?;
            let function = lines.by_ref().find_map(|line| line.split_once("fn "))?.1;
            function.split_once('(').map(|(name, _)| name)
        })
    }

    /// Whether the suite of conformance is run under this name.
    fn runs_suite(&self, name: &str) -> bool {
        self.lines().any(|line| line.starts_with(&format!("conformance!({name}, ")))
    }

    fn has_tests(&self) -> bool {
        let modules = self.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        self.tests().next().is_some() || modules.filter_map(|name| self.child(name)).any(|module| module.has_tests())
    }
}

/// Whether `target::module` or `target::module::function` is a test or has some.
fn is_shown(path: &str) -> bool {
    let mut names = path.split("::");
    let Some(mut module) = names.next().and_then(Module::target) else { return false };
    while let Some(name) = names.next() {
        let Some(child) = module.child(name) else {
            let is_test = module.runs_suite(name) || module.tests().any(|test| test == name);
            return is_test && names.next().is_none();
        };
        module = child;
    }
    module.has_tests()
}

/// The cells of each row that tells of a failure, but for heads and rulers.
fn rows() -> Vec<Vec<&'static str>> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let rows = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    rows.filter(|cells| cells[0] != "failure" && cells[0] != "---").collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_it_names_is_there() {
    let rows = rows();
    assert!(rows.len() >= 20, "{rows:?}");
    for row in &rows {
        let [failure, _, _, shown_by] = row[..] else { panic!("not four cells: {row:?}") };
        // A row that begins without a failure goes on with the one above.
        assert!(failure.is_empty() || quoted(shown_by).next().is_some(), "no test shows {failure:?}");
        for path in quoted(shown_by) {
            assert!(is_shown(path), "{failure:?} is to be shown by {path}, which is no test");
        }
    }
}

#[test]
fn what_is_no_test_is_not_taken_for_one() {
    for path in [
        "e2e::guarantees",
        "e2e::guarantees::what_is_no_test_is_not_taken_for_one",
        "e2e::bad_input",
        "conformance::memory_engine",
        "faults",
    ] {
        assert!(is_shown(path), "{path}");
    }
    for path in [
        "",
        "nothing",
        "e2e::nothing",
        "e2e::guarantees::rows",
        "e2e::guarantees::what_is_no_test_is_not_taken_for_one::either",
        "cluster::servers",
        "harness",
        "conformance::memory",
    ] {
        assert!(!is_shown(path), "{path}");
    }
}
