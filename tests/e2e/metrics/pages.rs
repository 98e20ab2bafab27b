//! What is built on the metrics fits them: promtool's rules, the page about them, the alerts, the dashboard.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use lockstead_tests::{RedisServer, Server};
use serde_json::Value;

use super::scrape::Scrape;

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

fn read(path: &str) -> String {
    let path = repository(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// With all metrics that there can be: over Redis, with a node scope.
async fn scrape_everything() -> Scrape {
    let redis = RedisServer::start().await;
    let server = Server::start_with(&["--redis", &redis.url(), "--server-lease", "1s"]);
    Scrape::until(&server, &[("lockstead_ready", 1)]).await
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let missing = "promtool is missing; install it with: apt-get install prometheus, or tests/setup";
    let mut promtool = promtool.spawn().unwrap_or_else(|error| panic!("{missing} ({error})"));
    promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    promtool.wait_with_output().unwrap()
}

fn assert_no_complaint(output: &Output) {
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned()).concat();
    assert!(output.status.success(), "{said}");
}

#[tokio::test]
async fn promtool_has_no_complaint() {
    let scrape = scrape_everything().await;
    let output = promtool(&["check", "metrics"], &scrape.text);
    assert_no_complaint(&output);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "not even a remark");
    let wrong = promtool(&["check", "metrics"], "# TYPE wrong_milliseconds counter\nwrong_milliseconds 1\n");
    assert!(!wrong.status.success(), "it does complain");
}

#[tokio::test]
async fn the_page_describes_each_metric_and_no_other() {
    let metrics = scrape_everything().await.metrics();
    let described = rows_of_the_page().into_iter().filter(|(name, _)| !name.starts_with("Lockstead"));
    assert_eq!(described.collect::<Vec<_>>(), metrics.into_iter().collect::<Vec<_>>(), "names with their types");
}

/// The names in its tables, in order, each with what is in the next column.
fn rows_of_the_page() -> Vec<(String, String)> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut rows: Vec<_> =
        rows.map(|(name, rest)| (name.to_owned(), rest.split(" |").next().unwrap().to_owned())).collect();
    rows.sort();
    rows
}

#[test]
fn the_alert_rules_are_in_order_and_do_as_their_tests_say() {
    let file = repository("helm/lockstead/alerts/lockstead.yaml");
    let check = ["check", "rules", "--lint=all", "--lint-fatal", file.to_str().unwrap()];
    assert_no_complaint(&promtool(&check, ""));
    let tests = repository("tests/deploy/alerts.test.yaml");
    assert_no_complaint(&promtool(&["test", "rules", tests.to_str().unwrap()], ""));
    let tested = read("tests/deploy/alerts.test.yaml");
    let rules = read("helm/lockstead/alerts/lockstead.yaml");
    let alerts: BTreeSet<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    for alert in &alerts {
        let fires = format!("alertname: {alert}\n        exp_alerts:");
        assert!(tested.contains(&fires), "no test in which {alert} fires");
    }
    let rows = rows_of_the_page();
    let described = rows.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("Lockstead"));
    assert_eq!(described.collect::<BTreeSet<_>>(), alerts, "docs/metrics.md says what to do about each");
}

#[tokio::test]
async fn alerts_and_dashboard_use_only_what_is_measured() {
    let names = scrape_everything().await.names();
    let alerts = read("helm/lockstead/alerts/lockstead.yaml");
    let dashboard: Value = serde_json::from_str(&read("helm/lockstead/dashboards/lockstead.json")).unwrap();
    let mut queries = Vec::new();
    collect_queries(&dashboard, &mut queries);
    assert!(queries.len() >= 20, "a dashboard shows something");
    queries.push(alerts.clone());
    let used: BTreeSet<String> = queries.iter().flat_map(|query| metrics_in(query)).collect();
    let unknown: Vec<_> = used.difference(&names).collect();
    assert!(unknown.is_empty(), "used but not measured: {unknown:#?}");
    assert!(metrics_in(&alerts).len() >= 5, "the names are found");

    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|it| it["type"] == "datasource" && it["name"] == "datasource"));
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{}", panel["title"]);
    }
}

/// What panels and variables ask for.
fn collect_queries(value: &Value, queries: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "expr" || name == "query" => queries.push(text.clone()),
                    member => collect_queries(member, queries),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect_queries(element, queries)),
        _ => {}
    }
}

/// The names in a query that are Lockstead's or the process's.
fn metrics_in(query: &str) -> BTreeSet<String> {
    let words = query.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'));
    let is_metric = |word: &&str| word.starts_with("lockstead_") || word.starts_with("process_");
    words.filter(is_metric).map(str::to_owned).collect()
}
