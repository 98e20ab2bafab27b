//! What the chart tells the server and the command line, they understand.

use std::collections::BTreeSet;
use std::process::Command;

use lockstead_tests::{Server, TlsFiles, lockstead, serve};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::chart::{Rendered, items, render, render_one};

/// The flags and variables that a command knows.
pub(crate) fn help(command: &str) -> String {
    let told = Command::new(lockstead()).args([command, "--help"]).output().unwrap();
    String::from_utf8(told.stdout).unwrap()
}

/// Everything that can be set at all.
fn everything() -> Rendered {
    let values = json!({
        "node": {"enabled": true},
        "tls": {"clientCa": {"existingSecret": "client-ca"}},
        "redis": {"ca": {"existingSecret": "redis-ca"}, "serverLease": "20s"},
        "server": {"maxConnections": 1000, "traces": {"endpoint": "http://collector:4317"}},
    });
    render_one(Some("production"), values)
}

/// The settings file for a component, line by line.
fn settings<'a>(rendered: &'a Rendered, component: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let file = &rendered.one("ConfigMap", &format!("demo-lockstead-{component}"))["data"]["lockstead.toml"];
    file.as_str().unwrap().lines().map(|line| line.split_once(" = ").unwrap())
}

#[test]
fn the_server_knows_every_setting_that_the_chart_can_make() {
    let (help, rendered) = (help("serve"), everything());
    let insecure = render_one(Some("trial"), json!({}));
    let keys = settings(&rendered, "cluster").chain(settings(&rendered, "node")).chain(settings(&insecure, "cluster"));
    let keys: Vec<_> = keys.map(|(key, _)| key).collect();
    assert!(keys.len() >= 20 && keys.contains(&"insecure"), "{keys:?}");
    for key in keys {
        let flag = format!("--{} ", key.replace('_', "-"));
        assert!(help.replace('\n', " ").contains(&flag), "the server has no {flag}, for which the chart has {key}");
    }
    for (name, pod) in rendered.pods().chain(insecure.pods()).filter(|(name, _)| !name.ends_with("-test")) {
        for variable in items(&pod["containers"][0]["env"]) {
            let variable = variable["name"].as_str().unwrap();
            assert!(help.contains(variable) || variable == "RUST_LOG", "{name}: the server knows no {variable}");
        }
    }
}

/// Twice in the file, a setting would keep the server from starting; and past the chart's own value it would go unchecked.
#[test]
fn a_setting_with_a_value_of_its_own_can_t_be_set_beside_it() {
    let (everything, insecure) = (everything(), render_one(Some("trial"), json!({})));
    let keys =
        settings(&everything, "node").chain(settings(&everything, "cluster")).chain(settings(&insecure, "cluster"));
    let keys: BTreeSet<_> = keys.map(|(key, _)| key).chain(["listen", "monitor_listen", "redis"]).collect();
    let with = |key: &&str| json!({"insecure": true, "server": {"extraConfig": {*key: "x"}}});
    let mut cases: Vec<_> = keys.iter().map(|key| (*key, None, with(key))).collect();
    cases.push(("some_day", None, with(&"some_day")));
    let answer = render(&cases);
    assert!(settings(&answer.rendered("some_day"), "cluster").any(|line| line == ("some_day", "\"x\"")));
    for key in keys {
        let told = answer.refused(key);
        assert!(told.contains(&format!("server.extraConfig can't have `{key}`")), "{told}");
    }
}

/// Every file that the settings name is in a volume that is mounted.
#[test]
fn every_file_that_settings_name_is_mounted() {
    let rendered = everything();
    for (kind, component) in [("Deployment", "cluster"), ("DaemonSet", "node")] {
        let pod = &rendered.all(kind).next().unwrap()["spec"]["template"]["spec"];
        let mounts: Vec<_> = items(&pod["containers"][0]["volumeMounts"]).collect();
        let volumes: Vec<_> = items(&pod["volumes"]).map(|volume| &volume["name"]).collect();
        assert!(mounts.iter().all(|mount| volumes.contains(&&mount["name"])), "{mounts:?} {volumes:?}");
        assert_eq!(mounts.len(), volumes.len());
        let paths = settings(&rendered, component).filter_map(|(_, value)| value.trim_matches('"').strip_prefix('/'));
        let mut count = 0;
        for path in paths.map(|path| format!("/{path}")) {
            let is_mounted = |mount: &&Value| path.starts_with(mount["mountPath"].as_str().unwrap());
            assert!(mounts.iter().any(is_mounted), "{path}");
            count += 1;
        }
        assert!(count >= 5, "{component}: {count}");
    }
}

#[test]
fn a_server_starts_with_the_settings_of_a_trial() {
    let rendered = render_one(None, json!({"insecure": true}));
    let file = rendered.one("ConfigMap", "demo-lockstead-cluster")["data"]["lockstead.toml"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lockstead.toml");
    std::fs::write(&path, file).unwrap();
    let mut command = serve();
    command.arg("--listen=127.0.0.1:0").arg("--config").arg(&path);
    let mut server = Server::start_as(command);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

/// Settings and secrets as pods have them, but for where they are.
#[test]
fn a_server_with_access_control_and_tls_serves_the_chart_s_own_test() {
    let made = Command::new(lockstead()).args(["token", "tester"]).output().unwrap();
    let rule = "[[rule]]\nwho = [\"tester\"]\nmay = [\"acquire\", \"read\"]\nprefix = \"helm-test\"\n";
    let access = format!("{}\n{rule}", String::from_utf8(made.stderr).unwrap());
    let own = json!({"tokenSecret": {"name": "token"}});
    let values = json!({"access": {"inline": access}, "tls": {"existingSecret": "tls"}, "test": own});
    let rendered = render_one(None, values);

    let (folder, files) = (tempfile::tempdir().unwrap(), TlsFiles::make());
    let put = |path: &str, content: &[u8]| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    };
    let string = |value: &Value| value.as_str().unwrap().to_owned();
    put(
        "access/access.toml",
        string(&rendered.one("Secret", "demo-lockstead-access")["stringData"]["access.toml"]).as_bytes(),
    );
    put("token/token", &made.stdout);
    for (path, made) in [("tls/tls.crt", "server.pem"), ("tls/tls.key", "server.key"), ("tls/ca.crt", "ca.pem")] {
        put(path, &std::fs::read(files.path(made)).unwrap());
    }
    let here = |path: &str| path.replace("/run/secrets/lockstead", folder.path().to_str().unwrap());
    let settings = string(&rendered.one("ConfigMap", "demo-lockstead-cluster")["data"]["lockstead.toml"]);
    let settings = put("lockstead.toml", here(&settings).as_bytes());
    let mut command = serve();
    command.arg("--listen=127.0.0.1:0").arg("--config").arg(settings);
    let server = Server::start_as(command);

    let pod = &rendered.one("Pod", "demo-lockstead-test")["spec"]["containers"][0];
    let mut test = Command::new(lockstead());
    test.args(items(&pod["args"]).map(string)).env("PATH", lockstead().parent().unwrap());
    test.envs(items(&pod["env"]).map(|variable| (string(&variable["name"]), here(&string(&variable["value"])))));
    let told = test.env("LOCKSTEAD_SERVER", format!("https://{}", server.address())).output().unwrap();
    assert!(told.status.success() && !told.stdout.is_empty(), "{told:?}");
    let refused = test.env_remove("LOCKSTEAD_TOKEN_FILE").output().unwrap();
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
}

/// The pod of `helm test`, run by hand.
#[test]
fn the_chart_s_own_test_takes_a_lock_and_gives_it_back() {
    let rendered = render_one(Some("trial"), json!({}));
    let pod = &rendered.one("Pod", "demo-lockstead-test")["spec"]["containers"][0];
    let arguments: Vec<_> = items(&pod["args"]).map(|argument| argument.as_str().unwrap()).collect();
    let variables: Vec<_> = items(&pod["env"]).map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["LOCKSTEAD_SERVER"]);
    let server = Server::start();
    let programs = lockstead().parent().unwrap().display().to_string();
    let mut test = Command::new(lockstead());
    test.args(&arguments).env("LOCKSTEAD_SERVER", &server.url).env("PATH", programs);
    let told = test.output().unwrap();
    assert!(told.status.success(), "{told:?}");
    let shown = String::from_utf8(told.stdout).unwrap();
    assert!(shown.contains("helm-test/demo, lock") && shown.contains("exclusive"), "{shown}");
    let left = Command::new(lockstead()).args(["ls", "--json", "--server", &server.url]).output().unwrap();
    assert!(left.status.success() && left.stdout.is_empty(), "{left:?}");
}

#[test]
fn the_command_line_knows_every_variable_of_the_chart_s_test() {
    let help = help("run");
    for values in [json!({}), json!({"test": {"certificateSecret": "certificate"}})] {
        let rendered = render_one(Some("production"), values);
        let variables = items(&rendered.one("Pod", "demo-lockstead-test")["spec"]["containers"][0]["env"]);
        for variable in variables.map(|variable| variable["name"].as_str().unwrap()) {
            assert!(help.contains(variable), "`lockstead run` knows no {variable}");
        }
    }
}
