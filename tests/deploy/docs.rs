//! `docs/operations.md` speaks of what there is.

use std::collections::BTreeSet;

use crate::read;
use crate::readme::paths_of_values;
use crate::settings::help;

const PAGE: &str = "docs/operations.md";
/// Of systems beside Lockstead.
const FLAGS_OF_OTHERS: [&str; 6] = ["--from-file", "--install", "--values", "--tail", "--latency", "--server"];

/// The words of a text that begin with this, without what follows them.
fn words<'a>(text: &'a str, begin: &'a str, goes_on: impl Fn(char) -> bool + Copy + 'a) -> BTreeSet<&'a str> {
    let at = text.match_indices(begin).map(|(at, _)| at);
    let is_begin = |at: &usize| !text[..*at].ends_with(|letter: char| goes_on(letter));
    let end = |at: usize| at + text[at..].find(|letter| !goes_on(letter)).unwrap_or(text.len() - at);
    at.filter(is_begin).map(|at| &text[at..end(at)]).collect()
}

#[test]
fn its_flags_are_flags() {
    let (page, help) = (read(PAGE), help("serve"));
    let flags = words(&page, "--", |letter| letter.is_ascii_lowercase() || letter == '-');
    let own: Vec<_> = flags
        .into_iter()
        .filter(|flag| !flag.trim_matches('-').is_empty() && !FLAGS_OF_OTHERS.contains(flag))
        .collect();
    assert!(own.len() >= 7, "{own:?}");
    for flag in own {
        assert!(help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")), "there is no {flag}");
    }
}

#[test]
fn its_values_are_values_of_the_chart() {
    let (page, paths) = (read(PAGE), paths_of_values());
    let sections: BTreeSet<_> =
        paths.iter().filter_map(|path| path.split_once('.')).map(|(section, _)| section).collect();
    // What stands between backticks, up to the value that it is to have.
    let named = page.split('`').skip(1).step_by(2).filter_map(|code| code.split('=').next());
    let named: BTreeSet<_> =
        named.filter(|name| name.split_once('.').is_some_and(|(section, _)| sections.contains(section))).collect();
    assert!(named.len() >= 12, "only {named:?}");
    for name in named {
        let is_known = paths.iter().any(|path| path == name || path.starts_with(&format!("{name}.")));
        assert!(is_known, "the chart has no value {name}");
    }
}

#[test]
fn every_alert_has_something_to_do_and_none_is_invented() {
    let (page, rules) = (read(PAGE), read("helm/lockstead/alerts/lockstead.yaml"));
    let alerts: BTreeSet<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let titles = page.lines().filter_map(|line| line.strip_prefix("### "));
    let titles: BTreeSet<_> = titles.flat_map(|title| title.split([' ', ','])).collect();
    for alert in &alerts {
        assert!(titles.contains(alert), "{PAGE} does not say what to do about {alert}");
    }
    for named in words(&page, "Lockstead", |letter| letter.is_ascii_alphabetic()) {
        assert!(named == "Lockstead" || alerts.contains(named), "there is no alert {named}");
    }
}
