//! `lockstead bench`.

use serde_json::Value;

use super::{ask, assert_code};

#[tokio::test]
async fn a_benchmark_has_a_row_for_each_measurement() {
    // With many in flight, messages come in long runs, and none of them may be left unread.
    let arguments = ["bench", "--time", "50ms", "--in-flight", "1,256", "--waiters", "2", "--json"];
    let measured = ask("", &arguments).await;
    assert_code(&measured, 0);
    let report: Value = serde_json::from_slice(&measured.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let found: Vec<_> =
        rows.iter().map(|row| (row["what"].as_str().unwrap(), row["in_flight"].as_u64().unwrap())).collect();
    let (stream, unary) = ("echo, one stream", "echo, unary calls");
    let (session, calls) = ("acquire+release, one session", "acquire+release, unary calls");
    let expected = [
        (stream, 1),
        (session, 1),
        (stream, 256),
        (session, 256),
        (unary, 1),
        (calls, 1),
        (unary, 256),
        (calls, 256),
        (stream, 2),
        ("hand-over, one lock", 2),
    ];
    assert_eq!(found, expected);
    for row in rows {
        // With many in flight, a slow machine may not see the first of them done in so short a time.
        let is_measured = |speed| speed > 0.0 || row["in_flight"] == 256;
        assert!(row["per_second"].as_f64().is_some_and(is_measured), "{row}");
        assert!(row["p50_micros"].as_u64() <= row["p999_micros"].as_u64(), "{row}");
        let is_echo = row["what"].as_str().unwrap().starts_with("echo");
        assert_eq!(row.get("of_echo").or(row.get("p50_to_echo")).is_some(), !is_echo, "{row}");
    }
}
