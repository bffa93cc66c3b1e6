//! Where tables may be: inside the warehouse, apart from each other, not behind links.

use serde_json::json;

use crate::kit::{Server, append, schema, snapshot};

async fn create(server: &Server, name: &str, location: &str) -> crate::kit::Answer {
    let body = json!({"name": name, "schema": schema(), "location": location});
    server.post("/v1/namespaces/ns/tables", &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn locations_outside_are_refused_unopened() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let register = json!({"name": "p", "metadata-location": "file:///etc/passwd"});
    let refused = server.post("/v1/namespaces/ns/register", &register).await;
    refused.refused(403, "ForbiddenException", "outside warehouse");
    assert!(!refused.text.contains("root:"), "nothing of the file is quoted");
    for outside in ["file:///tmp/elsewhere/t", "file:/tmp/elsewhere/t", "s3://bucket/t"] {
        create(&server, "t", outside).await.refused(403, "ForbiddenException", "outside warehouse");
    }
    for strange in ["file:///tmp/../etc", "http://x/y", "relative"] {
        create(&server, "t", strange).await.refused(400, "IllegalArgumentException", "cannot be used");
    }
    let made = server.table("t").await;
    let inside = made["metadata"]["location"].as_str().expect("a location").to_owned();
    let outside = json!([{"action": "set-location", "location": "file:///tmp/elsewhere"}]);
    server.commit("t", json!([]), outside).await.refused(403, "ForbiddenException", "outside warehouse");
    for key in ["write.data.path", "write.metadata.path"] {
        let updates = json!([{"action": "set-properties", "updates": {key: "file:///tmp/elsewhere"}}]);
        server.commit("t", json!([]), updates).await.refused(403, "ForbiddenException", key);
    }
    let mut list = snapshot(1, None, 1, &inside);
    list["manifest-list"] = json!("file:///etc/passwd");
    server.commit("t", json!([]), append(&list)).await.refused(403, "ForbiddenException", "/etc/passwd");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_live_tables_never_share_or_nest() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let root = format!("file://{}", server.warehouse().display());
    create(&server, "a", &format!("{root}/x/a")).await.expect(200);
    for (name, location) in [("b", "x/a"), ("c", "x/a/inner"), ("d", "x")] {
        create(&server, name, &format!("{root}/{location}")).await.refused(400, "ValidationException", "is taken");
    }
    create(&server, "e", &format!("{root}/x/a2")).await.expect(200);
    create(&server, "f", &format!("{root}/x/a-1")).await.expect(200);
    let nested = json!([{"action": "set-location", "location": format!("{root}/x/a/deep")}]);
    server.commit("e", json!([]), nested).await.refused(400, "ValidationException", "is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_that_we_choose_is_always_free() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let first = server.table("t").await["metadata"]["location"].as_str().expect("text").to_owned();
    assert!(first.ends_with("/ns/t"), "{first}");
    server.delete("/v1/namespaces/ns/tables/t").await.expect(204);
    let second = server.table("t").await["metadata"]["location"].as_str().expect("text").to_owned();
    assert!(second.starts_with(&format!("{first}-")), "a dropped table's folder is left alone: {second}");
    // A namespace that lies inside a table's folder.
    let properties = json!({"location": format!("{second}/inner")});
    server.post("/v1/namespaces", &json!({"namespace": ["in"], "properties": properties})).await.expect(200);
    let body = json!({"name": "t", "schema": schema()});
    let third = server.post("/v1/namespaces/in/tables", &body).await.expect(200).json();
    let third = third["metadata"]["location"].as_str().expect("text").to_owned();
    assert!(!third.starts_with(&second) && third.ends_with("/in/t"), "{third}");
    let outside = json!({"namespace": ["out"], "properties": {"location": "file:///tmp/x"}});
    server.post("/v1/namespaces", &outside).await.refused(403, "ForbiddenException", "outside warehouse");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_make_safe_folders() {
    let server = Server::start().await;
    server.namespace(&["../.."]).await;
    let body = json!({"name": "../../x y", "schema": schema()});
    let made = server.post("/v1/namespaces/..%2F../tables", &body).await.expect(200).json();
    let location = made["metadata"]["location"].as_str().expect("text");
    let root = format!("file://{}/", server.warehouse().display());
    let inner = location.strip_prefix(&root).expect("inside the warehouse");
    assert!(inner.split('/').all(|part| !part.starts_with('.')) && !inner.contains(' '), "{inner}");
}

#[tokio::test(flavor = "multi_thread")]
async fn allowed_locations_may_be_used_in_either_spelling() {
    let beside = tempfile::tempdir().expect("a directory");
    let server = Server::allowing(&[&format!("file://{}", beside.path().display())]).await;
    server.namespace(&["ns"]).await;
    let location = format!("file:{}/t", beside.path().display());
    let made = create(&server, "t", &location).await.expect(200).json();
    assert_eq!(made["metadata"]["location"], location.as_str(), "the client's spelling is kept");
    create(&server, "u", &location.replace("file:", "file://")).await.refused(400, "ValidationException", "is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_lead_out_are_refused() {
    let server = Server::start().await;
    server.namespace(&["ns"]).await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let secret = elsewhere.path().join("00000-x.metadata.json");
    std::fs::write(&secret, "{\"secret\": 1}").expect("written");
    std::os::unix::fs::symlink(elsewhere.path(), server.warehouse().join("out")).expect("linked");
    std::os::unix::fs::symlink(&secret, server.warehouse().join("file.json")).expect("linked");
    let root = format!("file://{}", server.warehouse().display());
    create(&server, "t", &format!("{root}/out/t")).await.refused(403, "ForbiddenException", "symbolic link");
    for file in ["out/00000-x.metadata.json", "file.json"] {
        let body = json!({"name": "t", "metadata-location": format!("{root}/{file}")});
        let answer = server.post("/v1/namespaces/ns/register", &body).await;
        assert_eq!(answer.status, 403, "{file}: {}", answer.text);
        assert!(!answer.text.contains("secret"), "nothing of the file is quoted");
    }
    let left = std::fs::read_dir(elsewhere.path()).expect("a folder").count();
    assert_eq!(left, 1, "nothing was written through the link");
}
