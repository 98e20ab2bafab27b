//! Each profile is what is checked in, and what Kubernetes understands.

use std::fmt::Write;

use serde_json::json;

use crate::chart::{Case, PROFILES, Rendered, render_and_check, render_one};
use crate::{check, read, repository};

/// Kinds for which Kubernetes has no schema, since operators bring them along. Their fields are compared with what is
/// checked in and with nothing else.
const OF_OPERATORS: [&str; 3] = ["Certificate", "PrometheusRule", "ServiceMonitor"];

#[test]
fn the_chart_and_its_profiles_are_clean_and_as_checked_in() {
    let answer = render_and_check(&PROFILES.map(|profile| (profile, Some(profile), json!({}))));
    assert_eq!(answer.lint, [""; 0], "helm lint --strict");
    assert_eq!(answer.versions.first().map(String::as_str), Some("1.30"), "the oldest that Chart.yaml allows");
    assert!(answer.versions.len() >= 3, "{:?}", answer.versions);
    for profile in PROFILES {
        let rendered = answer.rendered(profile);
        assert_eq!(rendered.wrong, [""; 0], "{profile}");
        check_schemas_are_known(&rendered);
        let (manifests, notes) = texts(&rendered);
        check(&format!("tests/deploy/golden/{profile}.yaml"), &manifests);
        check(&format!("tests/deploy/golden/{profile}.txt"), &notes);
    }
}

fn check_schemas_are_known(rendered: &Rendered) {
    for object in &rendered.objects {
        let (kind, group) = (object["kind"].as_str().unwrap(), object["apiVersion"].as_str().unwrap());
        let is_of_operator = group.starts_with("monitoring.coreos.com/") || group.starts_with("cert-manager.io/");
        assert_eq!(OF_OPERATORS.contains(&kind), is_of_operator, "{group} {kind} is checked by no schema");
    }
}

/// What no profile has.
#[test]
fn kubernetes_understands_every_other_value_too() {
    let term = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
    let placed = json!({
        "podAnnotations": {"a": "b"},
        "podLabels": {"a": "b"},
        "nodeSelector": {"a": "b"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}},
        "priorityClassName": "important",
    });
    let values = json!({
        "commonLabels": {"team": "locks"},
        "fullnameOverride": "locks",
        "image": {"digest": format!("sha256:{}", "0".repeat(64)), "pullSecrets": ["registry"]},
        "tls": {"clientCa": {"existingSecret": "clients"}, "certManager": {"dnsNames": ["locks.example.com"]}},
        "redis": {"ca": {"existingSecret": "redis-ca"}, "serverLease": "20s"},
        "server": {"extraEnv": [{"name": "A", "value": "b"}], "extraArgs": ["--lock-family=both"],
            "extraConfig": {"a": "b\"c", "d": 1, "e": true}, "maxConnections": 1000, "bindAddress": "[::]"},
        "cluster": placed,
        "node": {"enabled": true, "hostPort": {"port": 7420, "ip": ""}},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "networkPolicy": {"clients": [{"podSelector": {}}], "egress": {"enabled": true,
            "rules": [{"ports": [{"port": 6379}]}]}},
        "monitoring": {"serviceMonitor": {"labels": {"a": "b"}}, "prometheusRule": {"labels": {"a": "b"}},
            "dashboards": {"annotations": {"a": "b"}}},
        "serviceAccount": {"name": "locks", "annotations": {"a": "b"}},
        "test": {"tokenAudience": "", "tokenSecret": {"name": "token"}, "certificateSecret": "me", "extraEnv": [{"name": "A", "value": "b"}]},
    });
    let more = json!({"insecure": false, "access": {"inline": "a = 1\nb = 2"}, "node": {"enabled": true},
        "networkPolicy": {"enabled": true, "egress": {"enabled": true}}});
    let cases: [Case; 2] = [("values", Some("production"), values), ("more", Some("trial"), more)];
    let answer = render_and_check(&cases);
    for (name, _, _) in cases {
        let rendered = answer.rendered(name);
        assert_eq!(rendered.wrong, [""; 0], "{name}");
        check_schemas_are_known(&rendered);
    }
    let file = answer.rendered("more").one("Secret", "demo-lockstead-access")["stringData"]["access.toml"].clone();
    assert_eq!(file, "a = 1\nb = 2\n");
    let settings = answer.rendered("values").one("ConfigMap", "locks-cluster")["data"]["lockstead.toml"].to_string();
    assert!(settings.contains(r#"a = \"b\\\"c\"\nd = 1\ne = true"#), "{settings}");
}

/// The manifests as `helm template` shows them, and the notes.
fn texts(rendered: &Rendered) -> (String, String) {
    let (mut manifests, mut notes) = (String::new(), String::new());
    for (path, text) in &rendered.files {
        if path.ends_with("NOTES.txt") {
            notes.clone_from(text);
            continue;
        }
        for object in text.split("\n---\n").map(|text| text.trim_start_matches("---\n").trim()) {
            if !object.is_empty() {
                let lines = without_files(object).lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
                writeln!(manifests, "---\n# Source: {path}\n{lines}").unwrap();
            }
        }
    }
    (manifests, notes)
}

/// Alerts and dashboards are files of their own, which a test compares; here they would only stand a second time.
fn without_files(object: &str) -> String {
    for (kind, end) in [("kind: PrometheusRule\n", "\n  groups:\n"), ("-dashboards\n", "\ndata:\n")] {
        if let Some(at) = object.find(end).filter(|_| object.contains(kind)) {
            return format!("{}  # …", &object[..at + end.len()]);
        }
    }
    object.to_owned()
}

#[test]
fn alerts_and_dashboards_are_the_files_beside_the_chart() {
    let rendered = render_one(Some("production"), json!({}));
    let alerts = rendered.one("PrometheusRule", "demo-lockstead");
    let groups = alerts["spec"]["groups"].as_array().unwrap();
    let count_in_files: usize =
        files("helm/lockstead/alerts").map(|path| read(&path).matches("- alert:").count()).sum();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let alerts = rules.filter(|rule| rule["alert"].is_string());
    assert_eq!(alerts.count(), count_in_files);
    assert!(count_in_files > 0);

    let dashboards = rendered.one("ConfigMap", "demo-lockstead-dashboards")["data"].as_object().unwrap();
    assert_eq!(dashboards.len(), files("helm/lockstead/dashboards").count());
    for (name, text) in dashboards {
        assert_eq!(text.as_str().unwrap(), read(&format!("helm/lockstead/dashboards/{name}")), "{name}");
    }
}

fn files(folder: &str) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(repository(folder)).unwrap();
    entries.map(move |entry| format!("{folder}/{}", entry.unwrap().file_name().display()))
}

#[test]
fn the_chart_has_the_version_of_the_server() {
    let chart = read("helm/lockstead/Chart.yaml");
    let version = env!("CARGO_PKG_VERSION");
    for line in [format!("\nversion: {version}\n"), format!("\nappVersion: \"{version}\"\n")] {
        assert!(chart.contains(&line), "Chart.yaml has no line{line}");
    }
}
