//! Lists and their pages.

use serde_json::{Value, json};

use super::harness::Server;

async fn names(server: &Server, path: &str) -> Vec<String> {
    let page = server.get(path).await;
    assert_eq!(page.status, 200, "{page:?}");
    let resources = page.json()["resources"].clone();
    resources.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_list_has_what_is_in_use_and_starts_so() {
    let server = Server::start();
    for name in ["b", "a%2F2", "a%2F1", "a", "%C3%A4%20%26%2B"] {
        server.acquire(&format!("/v1/locks/{name}"), "").await;
    }
    server.acquire("/v1/semaphores/a%2F1", r#"{"limit":7}"#).await;
    assert_eq!(names(&server, "/v1/locks").await, ["a", "a/1", "a/2", "b", "ä &+"]);
    assert_eq!(names(&server, "/v1/locks?prefix=a/").await, ["a/1", "a/2"]);
    assert_eq!(names(&server, "/v1/locks?prefix=a%2F&scope=cluster").await, ["a/1", "a/2"]);
    assert_eq!(names(&server, "/v1/locks?prefix=%C3%A4+%26%2b").await, ["ä &+"]);
    assert_eq!(names(&server, "/v1/locks?prefix=x").await, Vec::<String>::new());
    assert_eq!(names(&server, "/v1/locks?prefix=&scope=&page_token=&page_size=").await.len(), 5);
    let semaphores = server.get("/v1/semaphores").await.json();
    assert_eq!((&semaphores["resources"][0]["name"], &semaphores["resources"][0]["limit"]), (&json!("a/1"), &json!(7)));
}

#[tokio::test]
async fn pages_follow_one_another() {
    let server = Server::start();
    for number in 0..25 {
        server.acquire(&format!("/v1/locks/l%26{number:02}"), "").await;
    }
    let (mut token, mut seen, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("prefix", "l").append_pair("page_size", "10").append_pair("page_token", &token);
        let page = server.get(&format!("/v1/locks?{}", query.finish())).await.json();
        let names = page["resources"].as_array().unwrap().iter().map(|it: &Value| it["name"].clone());
        seen.extend(names);
        pages += 1;
        token = page["next_page_token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((pages, seen.len()), (3, 25));
    assert!(seen.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
    for (size, count) in [("0", 25), ("1", 1), ("99999999999999999999", 25), ("4294967296", 25)] {
        let page = server.get(&format!("/v1/locks?page_size={size}")).await;
        assert_eq!(page.json()["resources"].as_array().unwrap().len(), count, "{size}");
    }
}
