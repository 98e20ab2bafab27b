//! How pods run: what must be true of each, whatever the values.

use serde_json::{Value, json};

use crate::chart::{PROFILES, Rendered, containers, items, render, render_one};

#[test]
fn no_container_may_more_than_it_must() {
    let all = json!({"node": {"enabled": true}, "redis": {"existingSecret": "", "bundled": {"enabled": true}}});
    let mut cases = PROFILES.map(|profile| (profile, Some(profile), json!({}))).to_vec();
    cases.push(("all", Some("trial"), all));
    let answer = render(&cases);
    for (case, _, _) in cases {
        for (name, pod) in answer.rendered(case).pods() {
            assert_eq!(pod["automountServiceAccountToken"], false, "{case} {name}");
            assert_eq!(pod["enableServiceLinks"], false, "{case} {name}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{case} {name}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{case} {name}");
            assert!(pod["securityContext"]["runAsUser"].as_u64().unwrap() > 0, "{case} {name}");
            for container in containers(pod) {
                let (name, context) = (&container["name"], &container["securityContext"]);
                assert_eq!(context["readOnlyRootFilesystem"], true, "{case} {name}");
                assert_eq!(context["allowPrivilegeEscalation"], false, "{case} {name}");
                assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{case} {name}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{case} {name}");
                assert!(container["resources"]["limits"]["cpu"].is_null(), "{case} {name}: it would be throttled");
                // Only what gives a fresh folder to the servers' group is root, and even that without a capability.
                assert!(context["runAsUser"].is_null() || name == "prepare", "{case} {name}");
            }
            let by_path = items(&pod["containers"]).flat_map(|container| items(&container["volumeMounts"]));
            assert!(
                by_path.into_iter().all(|mount| mount["subPath"].is_null()),
                "{case} {name}: would not follow changes"
            );
        }
    }
}

#[test]
fn a_server_in_memory_is_alone() {
    let rendered = render_one(None, json!({"insecure": true}));
    let deployment = &rendered.one("Deployment", "demo-lockstead")["spec"];
    assert_eq!(deployment["replicas"], 1);
    assert_eq!(deployment["strategy"], json!({"type": "Recreate"}));
    assert_eq!(rendered.all("PodDisruptionBudget").count(), 0, "it would only hold up the node's drain");
    assert!(environment(&rendered, "Deployment").iter().all(|(name, _)| name != "LOCKSTEAD_REDIS"));
}

#[test]
fn servers_over_redis_come_before_others_go() {
    let rendered = render_one(Some("production"), json!({}));
    let deployment = &rendered.one("Deployment", "demo-lockstead")["spec"];
    assert_eq!(deployment["strategy"]["rollingUpdate"], json!({"maxSurge": 1, "maxUnavailable": 0}));
    assert!(deployment["replicas"].is_null(), "the autoscaler decides");
    let redis = environment(&rendered, "Deployment").into_iter().find(|(name, _)| name == "LOCKSTEAD_REDIS").unwrap().1;
    assert_eq!(redis["valueFrom"]["secretKeyRef"], json!({"name": "lockstead-redis", "key": "url"}));
    assert!(rendered.files.values().all(|text| !text.contains("redis://")), "a URL may hold a password");
}

/// The variables of the server in the workload of this kind.
fn environment(rendered: &Rendered, kind: &str) -> Vec<(String, Value)> {
    let workload = rendered.all(kind).next().unwrap();
    let variables = items(&workload["spec"]["template"]["spec"]["containers"][0]["env"]);
    variables.map(|variable| (variable["name"].as_str().unwrap().to_owned(), variable.clone())).collect()
}

#[test]
fn the_grace_period_has_room_for_pause_drain_and_last_words() {
    let durations =
        [("30s", 5, 45), ("1.5m", 5, 105), ("500ms", 0, 11), ("0.2s", 2, 13), ("1h", 0, 3610), ("90s", 10, 110)];
    let cases = durations.map(|(drain, pause, _)| {
        let server = json!({"drainTimeout": drain, "preStopSeconds": pause});
        (drain, None, json!({"insecure": true, "server": server}))
    });
    let answer = render(&cases);
    for (drain, pause, grace) in durations {
        let rendered = answer.rendered(drain);
        let (_, pod) = rendered.pods().find(|(name, _)| *name == "demo-lockstead").unwrap();
        assert_eq!(pod["terminationGracePeriodSeconds"], grace, "{drain} after {pause} s");
        let before = &pod["containers"][0]["lifecycle"]["preStop"];
        assert_eq!(before["sleep"]["seconds"], if pause > 0 { json!(pause) } else { Value::Null });
    }
}

#[test]
fn probes_ask_the_monitor_port_and_only_readiness_depends_on_redis() {
    for profile in ["production", "node"] {
        let rendered = render_one(Some(profile), json!({}));
        let (_, pod) = rendered.pods().find(|(name, _)| !name.ends_with("-test")).unwrap();
        let container = &pod["containers"][0];
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "monitor"}), "{profile} {probe}");
        }
        assert_eq!(container["ports"][1], json!({"name": "monitor", "containerPort": 7421}));
    }
}

#[test]
fn a_node_reaches_its_own_server_and_no_other() {
    let rendered = render_one(Some("node"), json!({}));
    let service = &rendered.one("Service", "demo-lockstead-node")["spec"];
    assert_eq!(service["internalTrafficPolicy"], "Local");
    let pod = &rendered.one("DaemonSet", "demo-lockstead-node")["spec"]["template"]["spec"];
    let port = json!({"name": "lockstead", "containerPort": 7420, "hostPort": 7420, "hostIP": "127.0.0.1"});
    assert_eq!(pod["containers"][0]["ports"][0], port);
    let folder = items(&pod["volumes"]).find(|volume| volume["name"] == "locks").unwrap();
    assert_eq!(folder["hostPath"], json!({"path": "/run/lockstead", "type": "DirectoryOrCreate"}));
    assert_eq!(rendered.all("Deployment").count(), 0);
}

/// A `NetworkPolicy` that lets nobody in, or a Service that finds nobody, is a mistake that no schema sees.
#[test]
fn selectors_find_the_pods_they_mean() {
    let values = json!({"networkPolicy": {"enabled": true, "clients": [{"podSelector": {}}]}, "redis": {"existingSecret": "",
        "bundled": {"enabled": true}}, "node": {"enabled": true}, "monitoring": {"serviceMonitor": {"enabled": true}}});
    let rendered = render_one(Some("trial"), values);
    let selected = |selector: &Value| -> Vec<String> {
        let pods = rendered.objects.iter().filter(|object| {
            let template = &object["spec"]["template"];
            let labels = if object["kind"] == "Pod" { &object["metadata"] } else { template };
            let labels = if labels["labels"].is_object() { &labels["labels"] } else { &labels["metadata"]["labels"] };
            labels.is_object() && selector.as_object().unwrap().iter().all(|(key, value)| &labels[key] == value)
        });
        pods.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let (server, node, redis) = ("demo-lockstead", "demo-lockstead-node", "demo-lockstead-redis");
    for (kind, name, pointer, expected) in [
        ("Service", "demo-lockstead", "/spec/selector", vec![server]),
        ("Service", "demo-lockstead-servers", "/spec/selector", vec![server]),
        ("Service", "demo-lockstead-node", "/spec/selector", vec![node]),
        ("Service", "demo-lockstead-redis", "/spec/selector", vec![redis]),
        ("Service", "demo-lockstead-monitor", "/spec/selector", vec![node, server]),
        ("PodDisruptionBudget", "demo-lockstead", "/spec/selector/matchLabels", vec![server]),
        ("Deployment", "demo-lockstead", "/spec/selector/matchLabels", vec![server]),
        ("DaemonSet", "demo-lockstead-node", "/spec/selector/matchLabels", vec![node]),
        ("StatefulSet", "demo-lockstead-redis", "/spec/selector/matchLabels", vec![redis]),
        ("NetworkPolicy", "demo-lockstead", "/spec/podSelector/matchLabels", vec![node, server]),
        (
            "NetworkPolicy",
            "demo-lockstead",
            "/spec/ingress/0/from/1/podSelector/matchLabels",
            vec!["demo-lockstead-test"],
        ),
        ("NetworkPolicy", "demo-lockstead-redis", "/spec/podSelector/matchLabels", vec![redis]),
        ("NetworkPolicy", "demo-lockstead-redis", "/spec/ingress/0/from/0/podSelector/matchLabels", vec![node, server]),
    ] {
        let mut found = selected(rendered.one(kind, name).pointer(pointer).unwrap());
        found.sort();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(found, expected, "{kind} {name} {pointer}");
    }
    let monitored = &rendered.one("ServiceMonitor", "demo-lockstead")["spec"]["selector"]["matchLabels"];
    let services = rendered.all("Service").filter(|service| {
        monitored.as_object().unwrap().iter().all(|(key, value)| &service["metadata"]["labels"][key] == value)
    });
    assert_eq!(services.count(), 1, "a server is read once");
}
