//! Values that can't work are refused before anything is installed, each with a sentence.

use serde_json::{Value, json};

use crate::chart::render;

/// Name, values, and what the sentence says. Values are above those of a chart that could be installed, with Redis.
type Case = (&'static str, Value, &'static str);

/// Which values exclude or need each other.
fn of_several_values() -> Vec<Case> {
    vec![
        ("nothing", json!({"cluster": {"enabled": false}}), "nothing is enabled"),
        ("no choice", json!({"insecure": false}), "who may use the locks? Set access.existingSecret"),
        (
            "both choices",
            json!({"access": {"existingSecret": "a"}}),
            "insecure=true is for servers without access control",
        ),
        (
            "two access files",
            json!({"insecure": false, "access": {"existingSecret": "a", "inline": "b"}}),
            "two access files",
        ),
        (
            "two certificates",
            json!({"tls": {"existingSecret": "a", "certManager": {"enabled": true, "issuerRef": {"name": "b"}}}}),
            "two certificates",
        ),
        ("no issuer", json!({"tls": {"certManager": {"enabled": true}}}), "tls.certManager.issuerRef.name"),
        (
            "a client CA alone",
            json!({"insecure": false, "tls": {"clientCa": {"existingSecret": "a"}}}),
            "without TLS there are none",
        ),
        ("two Redis", json!({"redis": {"bundled": {"enabled": true}}}), "two Redis"),
        (
            "acks of nobody",
            json!({"redis": {"existingSecret": "", "bundled": {"enabled": true}, "minAcks": 1}}),
            "has no replica",
        ),
        (
            "several in memory",
            json!({"redis": {"existingSecret": ""}, "cluster": {"replicas": 2}}),
            "there can be one only: set redis.existingSecret, or cluster.replicas=1",
        ),
        (
            "autoscaling in memory",
            json!({"redis": {"existingSecret": ""}, "cluster": {"autoscaling": {"enabled": true}}}),
            "there can be one only",
        ),
        (
            "two memories",
            json!({"redis": {"existingSecret": ""}, "node": {"enabled": true}}),
            "a scope `cluster` of its own beside that of the Deployment",
        ),
        ("a lease without Redis", json!({"redis": {"existingSecret": "", "serverLease": "20s"}}), "but there is none"),
        (
            "a node nobody finds",
            json!({"node": {"enabled": true, "service": {"enabled": false}}}),
            "nobody could find the server of a node",
        ),
        (
            "more than at most",
            json!({"cluster": {"autoscaling": {"enabled": true, "minReplicas": 5, "maxReplicas": 4}}}),
            "minReplicas is more than its maxReplicas",
        ),
        (
            "two tokens",
            json!({"test": {"tokenAudience": "a", "tokenSecret": {"name": "b"}}}),
            "test.tokenSecret and test.tokenAudience",
        ),
    ]
}

/// What the schema knows by itself.
fn of_one_value() -> Vec<Case> {
    vec![
        ("a typing error", json!({"replicas": 3}), "additional properties 'replicas' not allowed"),
        ("a deep typing error", json!({"redis": {"minAck": 1}}), "'minAck' not allowed"),
        ("no servers", json!({"cluster": {"replicas": 0}}), "/cluster/replicas"),
        ("a word for a number", json!({"cluster": {"replicas": "three"}}), "got string, want integer"),
        ("a number for a duration", json!({"server": {"drainTimeout": 30}}), "got number, want string"),
        ("a duration without unit", json!({"server": {"drainTimeout": "30"}}), "/server/drainTimeout"),
        ("a format of logs", json!({"server": {"logFormat": "xml"}}), "/server/logFormat"),
        ("a setting in capitals", json!({"server": {"extraConfig": {"Access": "x"}}}), "invalid propertyName 'Access'"),
        ("a family of locks", json!({"node": {"lockFamily": "fcntl"}}), "/node/lockFamily"),
        ("a folder nowhere", json!({"node": {"lockDir": {"hostPath": "locks"}}}), "/node/lockDir/hostPath"),
        ("a name in capitals", json!({"redis": {"existingSecret": "Redis"}}), "/redis/existingSecret"),
        ("a short digest", json!({"image": {"digest": "sha256:12"}}), "/image/digest"),
        ("no disruption at all", json!({"cluster": {"podDisruptionBudget": {"maxUnavailable": 0}}}), "maxUnavailable"),
    ]
}

#[test]
fn bad_values_are_refused_with_a_sentence() {
    let ground = json!({"insecure": true, "redis": {"existingSecret": "redis"}});
    let cases = [of_several_values(), of_one_value()].concat();
    let with_ground = |values: &Value| {
        let mut all = ground.clone();
        merge(&mut all, values);
        all
    };
    let mut questions: Vec<_> = cases.iter().map(|(name, values, _)| (*name, None, with_ground(values))).collect();
    questions.push(("ground", None, ground.clone()));
    let answer = render(&questions);
    answer.rendered("ground");
    for (name, _, sentence) in cases {
        let told = answer.refused(name);
        assert!(told.contains(sentence), "{name}: {told}");
    }
}

fn merge(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                merge(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => below.clone_from(above),
    }
}
