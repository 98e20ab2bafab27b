//! The comparison runs, and all that it measures comes out with numbers that can be true. How large they are is for nobody to
//! assert.

#![expect(clippy::unwrap_used, reason = "a test that can't begin has failed")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Those that need nothing but what the tests have installed anyway.
const CONTENDERS: &str = "memory,redis,node,echo,echo to many callers,scripts one by one,scripts by partition,scripts batched,redis publish,flock,direct redis lock";

fn compare(folder: &Path) -> Value {
    let mut command = Command::new(lockstead_tests::program("lockstead-compare"));
    command.args(["--rounds", "2", "--time", "100ms", "--only", CONTENDERS, "--out"]).arg(folder);
    command.args(["--in-flight", "1,4", "--unary-in-flight", "1", "--waiters", "2", "--processes", "3"]);
    command.args(["--sessions", "5", "--locks-each", "2", "--idle", "100ms", "--holds", "2000", "--queue", "500"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(folder.join("result.json")).unwrap()).unwrap()
}

fn median(row: &Value, figure: &str) -> f64 {
    row["figures"][figure]["median"].as_f64().unwrap_or_else(|| panic!("no {figure} in {row}"))
}

#[test]
fn every_row_has_figures_that_can_be_true() {
    let folder = tempfile::tempdir().unwrap();
    let result = compare(folder.path());
    assert_eq!(result["missing"], serde_json::json!([]));
    let rows = result["measured"].as_array().unwrap();
    for contender in CONTENDERS.split(',') {
        assert!(rows.iter().any(|row| row["contender"] == contender), "nothing of {contender}");
    }
    for row in rows {
        let workload = row["workload"].as_str().unwrap();
        if workload.contains("processes") {
            assert!(median(row, "seconds") > 0.03, "three times 10 ms can't take less: {row}");
            assert!(median(row, "gave_up") < 1.0, "{row}");
        } else if workload.contains("pairs") || workload.contains("hand-over") {
            assert!(median(row, "per_second") > 0.0, "{row}");
            assert!(median(row, "p50_us") > 0.0 && median(row, "p50_us") <= median(row, "p99_us"), "{row}");
            assert!(median(row, "client_cpu_us") > 0.0, "{row}");
        } else if workload.contains("sessions") {
            assert!(median(row, "kib_per_session") > 0.0, "{row}");
        } else {
            assert!(median(row, "ns_when_small") > 0.0 && median(row, "ns_when_full") > 0.0, "{row}");
        }
    }
    for file in ["report.md", "plot.svg"] {
        assert!(std::fs::read_to_string(folder.path().join(file)).unwrap().contains("memory"), "{file}");
    }
}
