//! Networks, users and passwords: asked for before anything is looked up.

use std::time::Duration;

use super::guarded;
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::within;

async fn upstream() -> Upstream {
    Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("secret")).await
}

#[tokio::test]
async fn networks_are_allowed_and_denied() {
    let upstream = upstream().await;
    for (access, status) in [
        ("allow = [\"127.0.0.0/8\"]", 200),
        ("allow = [\"192.0.2.0/24\"]", 403),
        ("deny = [\"127.0.0.1\"]", 403),
        ("allow = [\"127.0.0.0/8\"], deny = [\"127.0.0.1/32\"]", 403),
        ("deny = [\"192.0.2.0/24\"]", 200),
    ] {
        let proxy = guarded(&upstream, &format!("access = {{ {access} }}"));
        let response = proxy.get("/", &[("X-Forwarded-For", "192.0.2.1")]).await;
        assert_eq!(response.status, status, "{access}");
        if status == 403 {
            assert!(response.field("cache-status").ends_with("detail=denied"), "{}", response.field("cache-status"));
        }
    }
}

#[tokio::test]
async fn paths_that_are_read_otherwise_by_the_app_pass_no_guard() {
    let upstream = upstream().await;
    let proxy = Proxy::configured(&format!(
        "[upstreams.app]\nservers = [\"{}\"]\n\
         [[routes]]\nmatch = {{ path = \"/admin/\" }}\naccess = {{ deny = [\"127.0.0.1\"] }}\n\
         [[routes]]\nmatch = {{ path = \"/static/\" }}\n[[routes]]\n",
        upstream.url()
    ));
    assert_eq!(proxy.get("/admin/x", &[]).await.status, 403);
    for path in [
        "/%61dmin/x",
        "/%2561dmin/x",
        "//admin/x",
        "/./admin/x",
        "/x/../admin/x",
        "/x/%2e%2e/admin/x",
        "/x/..%2fadmin/x",
        "/x/..%252fadmin/x",
        "/x/..;/admin/x",
        "/x/..\\admin/x",
        "/admin;a/x",
        "/static/..%2fadmin/x",
        "/admin/../x",
        "/static/..%2faccount",
        "/x/..%2fstatic/x.css",
        // What some app reads behind the guard, and another, which does more to it, does not.
        "/x/../admin/..;/../users",
        "/x/..%2fadmin/..;/..%2fusers",
        "//admin/..;/x",
        "/admin%2f..;/x",
        "/./admin/..%3b/x",
        "/x/../admin/%2e%2e;/x",
        "/%61dmin/../x",
        "/%61dmin/%2e%2e/y",
        "/admin%2f..%2fy",
        "/%61dmin/..;/x",
        "//admin/..%2fy",
        "/x/../admin/%2e%2e/y",
        "/x/../admin/..%2fy",
        "/./admin/..%2fy",
        "/x/../admin/..\\y",
        "/static/../account/..;/../static%5ca%5cb/../profile",
        "/static/..%2faccount/..;/static/x",
    ] {
        let response = proxy.get(path, &[]).await;
        assert_eq!(response.status, 400, "{path}");
        assert_eq!(response.field("cache-status"), "larder; detail=ambiguous-path", "{path}");
    }
    assert_eq!(upstream.requests().len(), 0);
    // What leads to the same route however it is read passes as it is.
    for path in [
        "/a%20b",
        "/caf%C3%A9;x=y",
        "/wiki/C%2B%2B",
        "/x;jsessionid=1",
        "/a//b",
        "//static/x.css",
        "/x/../y",
        "/static/a%2fb",
        "/static/a/../b",
        "/group%2Fproject",
        "/login/next/http%3A%2F%2Fexample.org%2Fa%2520b%3Fx%3D1",
    ] {
        assert_eq!(proxy.get(path, &[]).await.status, 200, "{path}");
        assert_eq!(upstream.requests().last().unwrap().target, path);
    }
}

#[tokio::test]
async fn paths_that_are_read_otherwise_by_the_app_leave_a_route_that_stands_alone() {
    let upstream = upstream().await;
    let proxy = Proxy::configured(&format!(
        "[upstreams.app]\nservers = [\"{}\"]\n\
         [[routes]]\nmatch = {{ path = \"/static/\" }}\ncache = {{ ttl = \"5m\", cookies = \"ignore\" }}\n",
        upstream.url()
    ));
    assert_eq!(proxy.get("/static/..%2faccount", &[("cookie", "session=1")]).await.status, 400);
    assert_eq!(proxy.get("/static/a%2fb", &[]).await.status, 200);
}

/// A file of users: alice with bcrypt, bob with Argon2id; both have the password `open sesame`.
fn users() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bcrypt = bcrypt::hash("open sesame", 4).unwrap();
    let argon2 = argon2::Argon2::new(
        argon2::Algorithm::Argon2id,
        argon2::Version::V0x13,
        argon2::Params::new(64, 1, 1, None).unwrap(),
    );
    let argon2 = argon2::PasswordHasher::hash_password(&argon2, b"open sesame").unwrap().to_string();
    std::fs::write(file.path(), format!("# people\nalice:{bcrypt}\nbob:{argon2}\n")).unwrap();
    file
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn users_are_asked_before_the_cache_is() {
    let upstream = upstream().await;
    let users = users();
    let proxy = guarded(
        &upstream,
        &format!("access = {{ basic = {{ file = \"{}\", realm = \"the larder\" }} }}", users.path().display()),
    );
    let good = basic("alice", "open sesame");
    assert_eq!(proxy.get("/", &[("Authorization", &good)]).await.text(), "secret");
    assert!(proxy.get("/", &[("Authorization", &good)]).await.is_hit());
    assert!(proxy.get("/", &[("Authorization", &basic("bob", "open sesame"))]).await.is_hit());
    assert_eq!(upstream.requests()[0].fields.get("authorization"), None, "the app gets no password");
    for wrong in [
        None,
        Some(basic("alice", "wrong")),
        Some(basic("alice", "wrong")),
        Some(basic("mallory", "open sesame")),
        Some(basic("", "")),
        Some("Basic !!!".to_owned()),
        Some("Bearer x".to_owned()),
    ] {
        let fields: Vec<(&str, &str)> = wrong.iter().map(|wrong| ("Authorization", wrong.as_str())).collect();
        let response = proxy.get("/", &fields).await;
        assert_eq!((response.status, response.text().contains("secret")), (401, false), "{wrong:?}");
        assert_eq!(response.field("www-authenticate"), "Basic realm=\"the larder\", charset=\"UTF-8\"");
    }
    let twice = proxy.get("/", &[("Authorization", &good), ("Authorization", &basic("x", "y"))]).await;
    assert_eq!(twice.status, 401, "which of them an app would take nobody knows");
}

#[tokio::test]
async fn users_are_read_again_when_their_file_changes() {
    let upstream = upstream().await;
    let users = users();
    let proxy = guarded(&upstream, &format!("access = {{ basic = {{ file = \"{}\" }} }}", users.path().display()));
    let status =
        async |user: &str, password: &str| proxy.get("/", &[("Authorization", &basic(user, password))]).await.status;
    let until = async |user: &str, password: &str, expected: u16| {
        within("the file to be read again", async {
            while status(user, password).await != expected {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    assert_eq!((status("alice", "open sesame").await, status("carol", "please").await), (200, 401));
    std::fs::write(users.path(), format!("carol:{}\n", bcrypt::hash("please", 4).unwrap())).unwrap();
    until("carol", "please", 200).await;
    assert_eq!(status("alice", "open sesame").await, 401, "what was believed of her is forgotten");
    std::fs::write(users.path(), "carol: in the clear\n").unwrap();
    // Nothing tells from outside that it was looked at but that nothing changes.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(status("carol", "please").await, 200, "a broken file leaves the old users in force");
    let mended = format!("dave:{}\n", bcrypt::hash("thanks", 4).unwrap());
    std::fs::write(users.path(), mended).unwrap();
    until("dave", "thanks", 200).await;
    assert_eq!(status("carol", "please").await, 401);
}

#[tokio::test]
async fn many_wrong_passwords_do_not_keep_right_ones_waiting() {
    let upstream = upstream().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    // As costly as `htpasswd -B -C 10` makes it.
    std::fs::write(file.path(), format!("alice:{}\n", bcrypt::hash("open sesame", 10).unwrap())).unwrap();
    let proxy = guarded(&upstream, &format!("access = {{ basic = {{ file = \"{}\" }} }}", file.path().display()));
    let good = basic("alice", "open sesame");
    assert_eq!(proxy.get("/", &[("Authorization", &good)]).await.status, 200);
    let mut guesses = Vec::new();
    for number in 0..200 {
        let mut client = crate::support::client::Connection::open(proxy.address).await;
        let guess = basic("alice", &number.to_string());
        client.send(crate::support::client::request("GET", "/", &[("Authorization", &guess)], "")).await;
        guesses.push(client);
    }
    let began = std::time::Instant::now();
    assert_eq!(proxy.get("/", &[("Authorization", &good)]).await.status, 200);
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    let mut counts = [0; 2];
    for mut guess in guesses {
        match guess.response("GET").await.status {
            401 => counts[0] += 1,
            503 => counts[1] += 1,
            other => panic!("{other}"),
        }
    }
    assert!(counts[0] >= 64 && counts[1] > 0, "a bounded number is computed at all: {counts:?}");
}

#[tokio::test]
async fn passed_credentials_are_those_of_an_authorized_request() {
    let upstream = upstream().await;
    let users = users();
    let proxy =
        guarded(&upstream, &format!("access = {{ basic = {{ file = \"{}\", pass = true }} }}", users.path().display()));
    let good = basic("alice", "open sesame");
    for _ in 0..2 {
        assert!(!proxy.get("/", &[("Authorization", &good)]).await.is_hit());
    }
    assert_eq!(upstream.requests()[0].fields.get("authorization"), Some(&*good));
}
