//! The chart's page, whose table is made from the comments of `values.yaml`, and the schema beside these.

use std::fmt::Write;

use serde_json::Value;

use crate::{check, read};

const VALUES: &str = "helm/lockstead/values.yaml";
const PAGE: &str = "helm/lockstead/README.md";
const BEGIN: &str = "<!-- made from values.yaml -->\n";

/// A value that can be set.
struct Setting {
    path: Vec<String>,
    default: String,
    comment: String,
}

/// Reads `values.yaml` line by line: comments are what this is about, and parsers drop them.
fn read_settings() -> Vec<Setting> {
    let (mut settings, mut parents, mut comment) = (Vec::new(), Vec::<(usize, String)>::new(), String::new());
    for line in read(VALUES).lines() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if text.is_empty() {
            comment.clear();
        } else if let Some(more) = text.strip_prefix("# ") {
            assert!(comment.is_empty(), "a comment is one line: {line}");
            more.clone_into(&mut comment);
        } else {
            let (key, value) = text.split_once(':').unwrap_or_else(|| panic!("not `key: value`: {line}"));
            parents.retain(|(other, _)| *other < depth);
            parents.push((depth, key.to_owned()));
            let path: Vec<_> = parents.iter().map(|(_, key)| key.clone()).collect();
            if !comment.is_empty() {
                settings.push(Setting {
                    path,
                    default: value.trim().to_owned(),
                    comment: std::mem::take(&mut comment),
                });
            } else if !value.is_empty() {
                // A part of a value that is explained as a whole.
                let whole = settings.last_mut().unwrap_or_else(|| panic!("nothing explains {line}"));
                assert!(path.starts_with(&whole.path), "nothing explains {line}");
                let name = path[whole.path.len()..].join(".");
                write!(whole.default, "{}{name}: {}", if whole.default.is_empty() { "" } else { ", " }, value.trim())
                    .unwrap();
            }
        }
    }
    settings
}

/// All of them, with dots between.
pub(crate) fn paths_of_values() -> Vec<String> {
    read_settings().into_iter().map(|setting| setting.path.join(".")).collect()
}

fn table() -> String {
    let mut table = "| value | default | what it is |\n|---|---|---|\n".to_owned();
    for Setting { path, default, comment } in read_settings() {
        writeln!(table, "| `{}` | `{default}` | {} |", path.join("."), comment.replace('|', "\\|")).unwrap();
    }
    table
}

#[test]
fn the_checked_in_page_has_all_values() {
    let page = read(PAGE);
    let (by_hand, _) = page.split_once(BEGIN).expect("the page has the line where its table begins");
    check(PAGE, &format!("{by_hand}{BEGIN}\n{}", table()));
}

/// Else a value could be explained and refused, or taken and not explained.
#[test]
fn the_schema_has_the_same_values() {
    let schema: Value = serde_json::from_str(&read("helm/lockstead/values.schema.json")).unwrap();
    let settings = read_settings();
    assert!(settings.len() > 80, "only {} values are found", settings.len());
    for Setting { path, .. } in &settings {
        let found = path.iter().try_fold(&schema, |schema, key| schema["properties"].get(key));
        assert!(found.is_some(), "the schema does not know {}", path.join("."));
    }
    let mut leaves = Vec::new();
    find_leaves(&schema, &mut Vec::new(), &mut leaves);
    for leaf in leaves.iter().filter(|leaf| leaf[..] != ["global"]) {
        let is_explained = settings.iter().any(|setting| leaf.starts_with(&setting.path));
        assert!(is_explained, "values.yaml does not have {}", leaf.join("."));
    }
}

fn find_leaves(schema: &Value, path: &mut Vec<String>, leaves: &mut Vec<Vec<String>>) {
    let Some(properties) = schema["properties"].as_object() else {
        leaves.push(path.clone());
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "{}", path.join("."));
    for (key, part) in properties {
        path.push(key.clone());
        find_leaves(part, path, leaves);
        path.pop();
    }
}
