//! Lists of much.

use futures::future::join_all;
use lockstead_client::Client;
use lockstead_tests::Server;

#[tokio::test]
async fn a_list_of_large_descriptions_comes_in_pages_that_any_client_reads() {
    const LOCKS: usize = 10;
    const GRPC_MESSAGE_MAX_BYTES: usize = 4 << 20;
    let server = Server::start();
    let metadata = (0..16).map(|number| (format!("{number:064}"), "v".repeat(512)));
    let client = Client::builder().server(&server.url).metadata(metadata).connect().await.unwrap();
    let names = (0..100 * LOCKS).map(|number| format!("large/{}", number % LOCKS));
    let guards = join_all(names.map(|name| client.lock(name).shared().acquire())).await;
    assert!(guards.iter().all(Result::is_ok));

    let listed = client.list_locks("large/").page_size(1000).all().await.unwrap();
    let counts: Vec<_> = listed.iter().map(|lock| (lock.name.clone(), lock.holders.len())).collect();
    assert_eq!(counts, (0..LOCKS).map(|number| (format!("large/{number}"), 100)).collect::<Vec<_>>());
    let page = reqwest::get(format!("{}/v1/locks?page_size=1000", server.url)).await.unwrap().bytes().await.unwrap();
    assert!(page.len() < GRPC_MESSAGE_MAX_BYTES, "a page of {} bytes", page.len());
}
