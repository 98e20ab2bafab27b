//! The chart, rendered by Helm's own library for the values of a test.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{python_program, repository};

/// The values that come with the chart, for those who do not want to begin with nothing.
pub(crate) const PROFILES: [&str; 4] = ["trial", "production", "node", "both"];

/// What came of all cases of a test.
#[derive(Deserialize)]
pub(crate) struct Answer {
    /// What `helm lint --strict` has against the chart.
    pub(crate) lint: Vec<String>,
    /// Of Kubernetes, by whose schemas objects were checked.
    pub(crate) versions: Vec<String>,
    cases: BTreeMap<String, Outcome>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Outcome {
    Rendered(Rendered),
    Refused { refused: String },
}

/// A rendered chart.
#[derive(Clone, Deserialize)]
pub(crate) struct Rendered {
    /// By the paths of their templates.
    pub(crate) files: BTreeMap<String, String>,
    /// What is in them.
    pub(crate) objects: Vec<Value>,
    /// What Kubernetes' schemas have against them.
    pub(crate) wrong: Vec<String>,
}

/// Name, profile (or none), and values above that.
pub(crate) type Case<'a> = (&'a str, Option<&'a str>, Value);

/// Renders the chart.
pub(crate) fn render(cases: &[Case]) -> Answer {
    ask(false, cases)
}

/// Renders the chart, and checks it and what comes out, which takes seconds.
pub(crate) fn render_and_check(cases: &[Case]) -> Answer {
    ask(true, cases)
}

fn ask(check: bool, cases: &[Case]) -> Answer {
    let cases: BTreeMap<_, _> =
        cases.iter().map(|(name, profile, values)| (name, json!({"profile": profile, "values": values}))).collect();
    let mut python = Command::new(python_program("python3"));
    python.arg(repository("tests/deploy/chart.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(json!({"check": check, "cases": cases}).to_string().as_bytes()).unwrap();
    let told = python.wait_with_output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&told.stdout).unwrap()
}

/// Renders a single case that is not refused.
pub(crate) fn render_one(profile: Option<&str>, values: Value) -> Rendered {
    render(&[("one", profile, values)]).rendered("one")
}

impl Answer {
    /// A case that was to be rendered.
    pub(crate) fn rendered(&self, name: &str) -> Rendered {
        match &self.cases[name] {
            Outcome::Rendered(rendered) => rendered.clone(),
            Outcome::Refused { refused } => panic!("{name} is refused: {refused}"),
        }
    }

    /// A case that was to be refused: why it was.
    pub(crate) fn refused(&self, name: &str) -> &str {
        match &self.cases[name] {
            Outcome::Refused { refused } => refused,
            Outcome::Rendered(_) => panic!("{name} is not refused"),
        }
    }
}

impl Rendered {
    /// All objects of a kind.
    pub(crate) fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The object of this kind and name.
    pub(crate) fn one(&self, kind: &str, name: &str) -> &Value {
        let found = self.objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// The pods, or what they are made by, with their names.
    pub(crate) fn pods(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.objects.iter().filter_map(|object| {
            let spec = match object["kind"].as_str().unwrap() {
                "Pod" => &object["spec"],
                "Deployment" | "DaemonSet" | "StatefulSet" => &object["spec"]["template"]["spec"],
                _ => return None,
            };
            Some((object["metadata"]["name"].as_str().unwrap(), spec))
        })
    }
}

/// The members of a list, of which there is none where there is no list.
pub(crate) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// All containers of a pod.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    items(&pod["initContainers"]).chain(items(&pod["containers"]))
}
